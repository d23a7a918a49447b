"""The Python API: each function returns a result with a pandas data frame and a display for notebooks.

`sweep`, `explain` and `max_batch` run in a worker process, as the commands do; CUDA is not initialized in this process.
`track` follows a loop that runs here. Nothing is written to disk unless a file is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from memprof.breakdown.explanation import Block, Explained, Explanation
from memprof.breakdown.snapshot import check_writable
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import Mode
from memprof.errors import DeviceError
from memprof.experiments.explain import explain_point
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import open_session
from memprof.experiments.sweep import sweep_records
from memprof.gpus.select import Device, choose_device
from memprof.records import Environment, MaxBatch, RunRecord, Source, Trial
from memprof.report.labels import gpu_label
from memprof.report.terminal.explain import explain_report, peak_report
from memprof.report.terminal.max_batch import does_not_fit, max_batch_panel
from memprof.report.terminal.render import to_html, to_text
from memprof.report.terminal.sweep import sweep_table
from memprof.units import parse_bytes

if TYPE_CHECKING:
    import pandas
    import torch
    from rich.console import RenderableType

_WIDTH = 110  # cells


class _Shown:
    """A result that prints as its command does, and has a display in notebooks."""

    def rendered(self, width: int) -> RenderableType:
        """Return what rich prints, laid out for `width` cells."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return what the command prints, in 110 cells."""
        return to_text(self.rendered(_WIDTH), _WIDTH)

    def _repr_html_(self) -> str:
        return to_html(self.rendered(_WIDTH), _WIDTH)


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult(_Shown):
    """The records of a sweep, in the order of the config's points."""

    records: tuple[RunRecord, ...]
    environment: Environment

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each point, with the columns of `results.csv`: bytes as ``Int64``, unknown as ``<NA>``."""
        from memprof.results.dataframe import frame

        return frame(self.records)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return sweep_table(self.records, width)


@dataclass(frozen=True, kw_only=True, repr=False)
class ExplainResult(_Shown):
    """The record of one point and what its peak consists of."""

    explained: Explained

    @property
    def explanation(self) -> Explanation | None:
        """What the peak consists of; ``None`` if nothing ran."""
        return self.explained.explanation

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each block that was allocated at the peak, the largest first."""
        return _blocks(self.explanation)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return explain_report(self.explained, 2, 10, width)


@dataclass(frozen=True, kw_only=True, repr=False)
class MaxBatchResult(_Shown):
    """The largest batch that trains, and the trials that verified it."""

    answer: MaxBatch

    @property
    def largest_batch_size(self) -> int:
        """The largest batch size that trains; 0 if not even the smallest does."""
        return self.answer.largest_batch_size

    @property
    def safe_batch_size(self) -> int | None:
        """80 % of the largest, rounded down; ``None`` if the limit was not searched, or if that is below one sample."""
        return self.answer.safe_batch_size

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each trial, in order."""
        from memprof.results.dataframe import plain_frame

        return plain_frame(Trial, (*self.answer.trials, *self.answer.more_trials))

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return max_batch_panel(self.answer, width) if self.largest_batch_size else does_not_fit(self.answer)


@dataclass(frozen=True, kw_only=True, repr=False)
class TrackResult(_Shown):
    """What the peak of a tracked region consists of."""

    explanation: Explanation
    title: str
    source: Source

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each block that was allocated at the peak, the largest first."""
        return _blocks(self.explanation)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return peak_report(self.explanation, self.title, self.source, width)


def sweep(
    config: str | Path,
    *,
    gpu: str | None = None,
    batch_sizes: Sequence[int] = (),
    optimizers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> SweepResult:
    """Measure each optimizer at each batch size of a config file, as `memprof sweep` does.

    Args:
        config: the config file.
        gpu: ``auto``, ``cuda:N`` or a GPU of the catalog; by default the config's.
        batch_sizes: instead of those of the config.
        optimizers: names of the config's optimizers, or any others.
        settings: any config keys and their values, e.g. ``{"precision": "amp-bf16"}``.

    Raises:
        MemprofError: the config, the model or the GPU cannot be used; one line says why.
    """
    loaded = _load(config, gpu, batch_sizes, optimizers, settings)
    with open_session(loaded, choose_device(loaded.config.gpu)) as session:
        return SweepResult(records=tuple(sweep_records(session)), environment=session.environment)


def explain(
    config: str | Path,
    *,
    batch_size: int | None = None,
    optimizer: str | None = None,
    gpu: str | None = None,
    settings: Mapping[str, Any] | None = None,
    snapshot: str | Path | None = None,
) -> ExplainResult:
    """Run one point and show what its peak consists of, as `memprof explain` does.

    The arguments are those of `sweep`. With `snapshot`, a snapshot for pytorch.org/memory_viz is written there.

    Raises:
        MemprofError: the config, the model or the GPU cannot be used; one line says why.
    """
    loaded = _load(config, gpu, _maybe(batch_size), _maybe(optimizer), settings)
    file = None if snapshot is None else Path(snapshot)
    if file is not None:
        check_writable(file)
    with open_session(loaded, _gpu(loaded, "explain")) as session:
        return ExplainResult(explained=explain_point(session, loaded.config.points()[0], file))


def max_batch(
    config: str | Path,
    *,
    optimizer: str | None = None,
    gpu: str | None = None,
    memory: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> MaxBatchResult:
    """Find the largest batch that trains, as `memprof max-batch` does; `memory` limits PyTorch, e.g. ``"16GiB"``.

    Raises:
        MemprofError: the config, the model or the GPU cannot be used; one line says why.
        ValueError: `memory` is not a size.
    """
    loaded = _load(config, gpu, (), _maybe(optimizer), settings)
    device = _gpu(loaded, "max_batch")
    chosen = None if loaded.config.mode is Mode.INFERENCE else loaded.config.optimizers[0]
    limits = Limits(memory_limit_bytes=None if memory is None else parse_bytes(memory))
    target = Target(config=loaded.config, optimizer=chosen, device=device)
    with open_session(loaded, device) as session:
        (answer,) = find_max_batches(session.client, [target], limits)
    return MaxBatchResult(answer=answer)


class track:  # noqa: N801  it is called like a function
    """Follow your own training loop, and show what its peak consists of.

    ``with track(model, optimizer) as t: ...`` then ``print(t.explain())``. The loop runs unchanged, and allocates
    nothing more. Enter it before the first step: blocks that were allocated before, and belong to neither the model nor
    the optimizer, are reported as unknown. PyTorch keeps one history of its allocator: one that was recorded before
    ends.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        *,
        snapshot: str | Path | None = None,
    ) -> None:
        """Prepare to follow a loop.

        Args:
            model: a model on the GPU; ``None`` for code without one.
            optimizer: one, several, or none.
            snapshot: where to write a snapshot for pytorch.org/memory_viz.
        """
        self._model = model
        self._optimizers = tuple(optimizer) if isinstance(optimizer, Sequence) else _maybe(optimizer)
        self._snapshot = None if snapshot is None else Path(snapshot)
        self._answer: TrackResult | None = None

    def __enter__(self) -> Self:
        """Record the allocator's history from here on."""
        from memprof.measure.track import TrackedRegion, device_of

        if self._snapshot is not None:
            check_writable(self._snapshot)
        self._device = device_of(self._model)
        self._region = TrackedRegion(self._model, self._optimizers, self._device, whole=self._snapshot is not None)
        self._region.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop recording, and attribute the peak."""
        import torch

        from memprof.gpus.phantom.runtime import unknown_workspaces

        explanation = self._region.stop(self._snapshot)
        source = Source.MEASURED if unknown_workspaces() is None else Source.EMULATED
        gpu = gpu_label(torch.cuda.get_device_name(self._device), source)
        named = [type(self._model).__name__] if self._model is not None else []
        self._answer = TrackResult(
            explanation=explanation,
            title=" · ".join([*named, *(type(o).__name__ for o in self._optimizers), gpu, source.value]),
            source=source,
        )

    def explain(self) -> TrackResult:
        """Return what the peak of the region consists of.

        Raises:
            RuntimeError: the region has not ended.
        """
        if self._answer is None:
            raise RuntimeError("the tracked region has not ended: call explain() after the with block")
        return self._answer


def _load(
    config: str | Path,
    gpu: str | None,
    batch_sizes: Sequence[int],
    optimizers: Sequence[str],
    settings: Mapping[str, Any] | None,
) -> LoadedConfig:
    texts = [
        *((Flag.SET, f"{key}={json.dumps(value)}") for key, value in (settings or {}).items()),
        *((Flag.GPU, name) for name in _maybe(gpu)),
        *((Flag.BATCH_SIZE, str(size)) for size in batch_sizes),
        *((Flag.OPTIMIZER, name) for name in optimizers),
    ]
    return load(Path(config), [Override(flag=flag, text=text) for flag, text in texts])


def _gpu(loaded: LoadedConfig, function: str) -> Device:
    device = choose_device(loaded.config.gpu)
    if device.source is Source.ANALYTIC:
        raise DeviceError(f"{function} needs a GPU, real or simulated: {device.explanation}")
    return device


def _maybe(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,)


def _blocks(explanation: Explanation | None) -> pandas.DataFrame:
    from memprof.results.dataframe import plain_frame

    return plain_frame(Block, explanation.blocks if explanation else ())
