"""One model: its peak on the phantom that this process sees, its analytic estimate, or its peak under MemTracker.

The parent is in estimates.py. A name is a model of torchvision, which takes the step of campaign_child.py, or the file
of a config, whose first point counts. A server forks a child for each line of its input, and the child answers with one
line of JSON; a child that crashes answers nothing.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from benchmarks.campaign_child import (
    LEARNING_RATE,
    SECONDS_LIMIT,
    build,
    cuda_step,
    fake_of,
    loss_of,
    names,
    serve,
    tracker_step,
)
from memprof.allocator.simulator import simulate
from memprof.breakdown.analytic.fake_cuda import FakeCudaModel
from memprof.breakdown.analytic.kernels import cuda_kernels
from memprof.breakdown.analytic.requests import RequestRecorder, as_on_cuda, unique_use_counts
from memprof.config.load import LoadedConfig, load
from memprof.gpus.catalog import find_gpu
from memprof.gpus.traits import GpuTraits, traits_of
from memprof.measure.estimate import record_requests
from memprof.measure.recorder import Listener, Phases
from memprof.measure.run import measure
from memprof.measure.step import make_step
from memprof.workload import BatchLoader, build_model

Figures = dict[str, Any]
_STEPS = 2


def estimate_step(name: str) -> Figures:
    """The analytic estimate of two steps of a torchvision model."""
    model = build(name)
    fake_model = FakeCudaModel(model)
    with as_on_cuda(), fake_model.active(), cuda_kernels(model):
        recorder = RequestRecorder(_gpu(), os.environ, unique_use_counts())
        with recorder:
            recorder.hold((*model.parameters(), *model.buffers()))
            optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
            for _ in range(_STEPS):
                optimizer.zero_grad()
                loss = loss_of(name, model, "cuda")
                recorder.in_backward = True
                loss.backward()
                recorder.in_backward = False
                del loss
                optimizer.step()
    return {"peak_bytes": _peak(recorder.requests)}


def config_step(name: str) -> Figures:
    """The steps of the first point of a config."""
    loaded, spec, size = _point(name)
    outcome = measure(build_model(loaded.config, loaded.folder), loaded.config, spec, size, torch.device("cuda", 0))
    if outcome.reading is None or outcome.error:
        return {"error": outcome.error or outcome.status.value}
    return {"peak_bytes": outcome.reading.peak_allocated_bytes}


def estimate_config(name: str) -> Figures:
    """The analytic estimate of the first point of a config."""
    loaded, spec, size = _point(name)
    model = build_model(loaded.config, loaded.folder)
    return {"peak_bytes": _peak(record_requests(model, loaded.config, (spec, size), _gpu()))}


def track_config(name: str) -> Figures:
    """Two steps of the first point of a config under MemTracker, with fake tensors on the CPU."""
    loaded, spec, size = _point(name)
    tracker, fake = MemTracker(), FakeTensorMode(allow_non_fake_inputs=True)
    model = build_model(loaded.config, loaded.folder).train()
    _make_fake(model, fake)
    with fake:
        step = make_step(model, model, loaded.config, spec, BatchLoader(loaded.config, size, torch.device("cpu")))
        assert step.optimizer is not None
        tracker.track_external(model, *step.optimizer.parts)
        with tracker:
            for _ in range(_STEPS):
                step(_Untimed())
                tracker.reset_mod_stats()
    return {"peak_bytes": tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]}


class _Untimed(Phases):
    """Notes nothing."""

    def __init__(self) -> None:
        self.listener = Listener()

    def phase(self, phase: Any) -> Any:
        del phase
        return warnings.catch_warnings()


def _make_fake(model: nn.Module, fake: FakeTensorMode) -> None:
    kept: dict[int, Any] = {}  # tied tensors stay tied
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    table[key] = kept.setdefault(id(tensor), _fake_on_cpu(fake, tensor))


def _fake_on_cpu(fake: FakeTensorMode, tensor: torch.Tensor) -> torch.Tensor:
    there = fake_of(fake, torch.empty_like(tensor, device="cpu"))
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(there, requires_grad=tensor.requires_grad) if is_parameter else there


def _point(name: str) -> tuple[LoadedConfig, Any, int]:
    loaded = load(Path(name))
    spec, size = loaded.config.points()[0]
    return loaded, spec, size


def _peak(requests: list[int]) -> int:
    return simulate(requests, None).peak_allocated_bytes


def _gpu() -> GpuTraits:
    return traits_of(find_gpu(os.environ["ESTIMATED_GPU"]))


def answer(kind: str, name: str) -> Figures:
    """Return the figures of a model, or why there are none."""
    signal.alarm(SECONDS_LIMIT)  # a hang is a crash
    warnings.simplefilter("ignore")
    of_models = {"phantom": cuda_step, "estimate": estimate_step, "tracker": tracker_step}
    of_configs = {"phantom": config_step, "estimate": estimate_config, "tracker": track_config}
    run: Callable[[str], Figures] = (of_configs if name.endswith(".yaml") else of_models)[kind]
    try:
        return run(name)
    except Exception as error:  # noqa: BLE001  a model that fails is a row
        first = (str(error).splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {first[:160]}"}


if __name__ == "__main__":
    import json

    print(json.dumps(names()), flush=True)
    serve(answer)
