"""Read the plans that cuDNN executed from its own log, which it writes with CUDNN_LOGLEVEL_DBG=3.

Before PyTorch runs a plan, it asks for the size of its workspace. The log then has the plan with its operation, its
tensors, its engine and its knobs, but not the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ASKED = "CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE"
_OPERATION = re.compile(r"operation: type=CUDNN_BACKEND_OPERATION_(\w+)_DESCRIPTOR")
_TENSOR = re.compile(r"(\w+)Desc: type=CUDNN_BACKEND_TENSOR_DESCRIPTOR")
_VALUE = re.compile(r"(\w+): type=[\w ]+; val=(.*);$")
_ENGINE = re.compile(r"engine_id: type=int; val=(\d+);")
_KNOB = re.compile(r"CUDNN_KNOB_TYPE_(\w+): type=int; val=(-?\d+);")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One plan: `tensors` has the dimensions, strides and type of each tensor by its letter."""

    operation: str  # CONVOLUTION_FORWARD, CONVOLUTION_BACKWARD_DATA, CONVOLUTION_BACKWARD_FILTER
    tensors: dict[str, dict[str, str]]
    engine: int
    knobs: dict[str, int]


def read_plans(text: str) -> Iterator[Plan]:
    """Yield the plans whose workspace was asked for, in the order of the log."""
    for call in text.split("\n\n\n"):
        if _ASKED in call and (plan := _plan(call)) is not None:
            yield plan


def _plan(call: str) -> Plan | None:
    operation, engine = _OPERATION.search(call), _ENGINE.search(call)
    if operation is None or engine is None:
        return None
    return Plan(
        operation=operation[1],
        tensors=dict(_tensors(call)),
        engine=int(engine[1]),
        knobs={name: int(value) for name, value in _KNOB.findall(call)},
    )


def _tensors(call: str) -> Iterator[tuple[str, dict[str, str]]]:
    parts = _TENSOR.split(call)[1:]
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        values: dict[str, str] = {}
        for line in part.splitlines()[1:]:
            if found := _VALUE.search(line):
                values.setdefault(found[1], found[2])
        yield name, {"dims": values["dimA"], "strides": values["strideA"], "type": values["type"].split(" ")[0]}
