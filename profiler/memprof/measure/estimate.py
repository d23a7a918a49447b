"""Estimate the peak of a training step: the step itself, run on shapes, and its requests in a simulated allocator.

The order of operations decides which tensors exist at the same time. It is that of `measure.step`, so that every
setting of a config has its effect here too. No value is computed and no GPU is used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from memprof.allocator.growth import RecordedRun, extrapolated, has_pattern_of
from memprof.allocator.simulator import simulate
from memprof.breakdown.analytic import break_down
from memprof.breakdown.analytic.breakdown import Point
from memprof.breakdown.analytic.fake_cuda import DEVICE_TYPE, FakeCudaModel
from memprof.breakdown.analytic.kernels import cuda_kernels
from memprof.breakdown.analytic.requests import RequestRecorder, as_on_cuda, unique_use_counts
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.gpus.traits import GpuTraits
from memprof.measure.evaluation import EvaluationPass
from memprof.measure.recorder import Listener
from memprof.measure.step import TrainingStep, make_step
from memprof.records import Breakdown, Phase
from memprof.workload.batches import Batch, make_batch
from memprof.workload.loading import BatchLoader
from memprof.workload.optimizers import keep_paged_state_on_host
from memprof.workload.quantization import quantization_tensors

_CUDA = torch.device(DEVICE_TYPE)
_STEPS = 2  # the second has optimizer state and the output of the first; later steps are like it


def estimate(model: nn.Module, config: SweepConfig, points: Sequence[Point], gpu: GpuTraits) -> list[Breakdown]:
    """Return the breakdown of each point with its estimated peak, which is ``None`` if it cannot be found.

    Args:
        model: it loses its values.
        config: the settings of the step.
        points: optimizers and batch sizes.
        gpu: what the estimate needs to know of the GPU.

    Raises:
        WorkloadError: as `break_down`.
    """
    found = break_down(model, config, points, gpu)
    peaks = _Peaks(model, config, points, gpu)
    return [replace(one, peak_bytes=peaks.of(*point)) for one, point in zip(found, points, strict=True)]


class _Peaks:
    """The peaks of the points of a sweep.

    For each optimizer the smallest and the largest batch run. If both request memory in the same order, the requests
    of the batches between them are on the lines through the two. Otherwise the batch in the middle runs too.
    """

    def __init__(self, model: nn.Module, config: SweepConfig, points: Sequence[Point], gpu: GpuTraits) -> None:
        self._model, self._config, self._gpu = model, config, gpu
        self._runs: dict[tuple[str, int], RecordedRun | None] = {}
        self._sizes: dict[str, list[int]] = {}
        for spec, size in points:
            self._sizes.setdefault(_key(spec), []).append(size)
        self._sizes = {key: sorted(set(sizes)) for key, sizes in self._sizes.items()}

    def of(self, spec: OptimizerConfig | None, size: int) -> int | None:
        sizes = self._sizes[_key(spec)]
        first, last = 0, len(sizes) - 1
        while True:
            small, large = (self._run(spec, sizes[end]) for end in (first, last))
            if small is None or large is None:
                return None
            if size in (small.batch_size, large.batch_size):
                return _peak((small if size == small.batch_size else large).requests)
            if has_pattern_of(small, large):
                return _peak(extrapolated(large, small, ()).at(size))
            middle = (first + last) // 2
            first, last = (first, middle) if size <= sizes[middle] else (middle, last)

    def _run(self, spec: OptimizerConfig | None, size: int) -> RecordedRun | None:
        key = _key(spec), size
        if key not in self._runs:
            try:
                requests = record_requests(self._model, self._config, (spec, size), self._gpu)
                self._runs[key] = RecordedRun(batch_size=size, requests=requests)
            except Exception:  # noqa: BLE001  the user's code may need values; torch needs a driver for backward
                self._runs[key] = None
        return self._runs[key]


def record_requests(
    model: nn.Module, config: SweepConfig, point: tuple[OptimizerConfig | None, int], gpu: GpuTraits
) -> list[int]:
    """Return the requests of the setup, of two steps at `point`, and of the config's evaluation.

    `model` loses its values.
    """
    spec, batch_size = point
    fake_model = FakeCudaModel(model.train(config.mode is Mode.TRAIN))
    with as_on_cuda(), fake_model.active(), cuda_kernels(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a copy of a model reads the addresses of its fake tensors
        recorder = RequestRecorder(gpu, os.environ, unique_use_counts())
        with recorder:
            recorder.hold((*model.parameters(), *model.buffers(), *(part for _, part in quantization_tensors(model))))
            loaders = partial(_FakeLoader, fake_model=fake_model, recorder=recorder)
            step = make_step(model, model, config, spec, loaders(config, batch_size, _CUDA))
            for part in step.optimizer.parts if isinstance(step, TrainingStep) else ():
                keep_paged_state_on_host(part)
            for _ in range(_STEPS):
                step(_Phases(recorder))
            if config.evaluation:
                EvaluationPass(model, config, batch_size, _CUDA, Path(), loaders)(_Phases(recorder), step.loader)
    return recorder.requests


class _FakeLoader(BatchLoader):
    """Loads batches of fake tensors."""

    def __init__(
        self,
        config: SweepConfig,
        batch_size: int,
        device: torch.device,
        *,
        fake_model: FakeCudaModel,
        recorder: RequestRecorder,
    ) -> None:
        self._fake_model, self._recorder = fake_model, recorder
        super().__init__(config, batch_size, device)

    def make(self) -> Batch:
        batch = self._fake_model.batch(make_batch(self._config, self._batch_size, torch.device("meta")))
        self._recorder.hold(batch.tensors)
        return batch


class _Phases:
    """Tells the recorder which thread would run each phase."""

    def __init__(self, recorder: RequestRecorder) -> None:
        self.listener = Listener()
        self._recorder = recorder

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        self._recorder.in_backward = phase is Phase.BACKWARD
        yield
        self._recorder.in_backward = False


def _peak(requests: Sequence[int]) -> int:
    return simulate(requests, None).peak_allocated_bytes


def _key(spec: OptimizerConfig | None) -> str:
    return "" if spec is None else spec.model_dump_json()
