"""Fixtures that create a config and break down its points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from memprof.breakdown.analytic import break_down
from memprof.config.names import BUILT_IN
from memprof.config.schema import SweepConfig
from memprof.gpus.catalog import find_gpu
from memprof.gpus.traits import traits_of
from memprof.records import Breakdown
from memprof.workload import build_model

LABEL = {"shape": [], "dtype": "int64", "range": [0, 10]}


def make_sweep(model: Any, **keys: Any) -> SweepConfig:
    """Return a config for `model`; images of the built-in's size, or 3x64x64, and ten classes."""
    default = BUILT_IN.get(model) if isinstance(model, str) else None
    shape = list(default.input.shape) if default else [3, 64, 64]
    loss = default.loss.name if default else "cross_entropy"
    base = {"name": "x", "model": model, "input": [{"shape": shape}], "target": LABEL, "loss": loss}
    return SweepConfig.model_validate({**base, **keys})


@pytest.fixture
def sweep() -> Callable[..., SweepConfig]:
    """Return a function that makes a config for a model."""
    return make_sweep


@pytest.fixture
def breakdowns(tmp_path: Path) -> Callable[..., list[Breakdown]]:
    """Return a function that breaks down each optimizer at each of `sizes`; user models are in `tmp_path`."""

    def run(model: Any, sizes: Sequence[int] = (2,), **keys: Any) -> list[Breakdown]:
        config = make_sweep(model, **keys)
        specs = config.optimizers if config.mode == "train" else [None]
        points = [(spec, size) for spec in specs for size in sizes]
        return break_down(build_model(config, tmp_path), config, points, traits_of(find_gpu("rtx-3090")))

    return run
