"""Find the cheapest settings with which a batch fits into a memory limit.

Memory savers are added, the cheapest first, until a run fits. Then those that turn out not to be needed are left out
again, the costliest first. Every figure is that of a run, and the final set has run within the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting
from memprof.errors import ConfigError, WorkloadError
from memprof.experiments.compare import MemoryBudget, VariantRuns
from memprof.experiments.memory_savers import MemorySaver, list_memory_savers, merged_settings
from memprof.experiments.session import LocalSession
from memprof.experiments.training_changes import list_training_changes
from memprof.gpus.select import multiplies_bf16
from memprof.records import Reading, RunRecord, Status
from memprof.worker.client import NoReplyError

ConfigOf = Callable[[Sequence[Setting]], SweepConfig]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One set of savers that was tried, and the decision about it."""

    added: str  # the saver that was added, or left out again
    cost: str
    savers: tuple[MemorySaver, ...]
    free: RunRecord | None  # the run with all the memory there is; None if the config is invalid
    within: RunRecord | None  # the run with the memory limit; None if the peak alone is already above it
    saved_bytes: int | None  # compared with the best set so far; None if one of the two did not run to its end
    saved_reserved_bytes: int | None
    kept: bool
    left_out: bool
    reason: str | None = None  # why it could not be run
    changes_training: bool = False  # the saver that was added or left out

    @property
    def fits(self) -> bool:
        """Whether the run with the memory limit ran to its end."""
        return self.within is not None and self.within.status is Status.OK


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What is to fit, and into how much memory; `memory_bytes` is ``None`` for all that the GPU has.

    `config_of` returns the config with some settings applied. It raises `ConfigError` if they are invalid.
    """

    config_of: ConfigOf
    savers: tuple[MemorySaver, ...]
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """The runs of one set of savers, before anything is decided about it; the fields are those of `Step`."""

    savers: tuple[MemorySaver, ...]
    free: RunRecord | None = None
    within: RunRecord | None = None
    reason: str | None = None

    @property
    def fits(self) -> bool:
        return self.within is not None and self.within.status is Status.OK


class Fit:
    """The search for one config on one GPU; its steps come as they are run."""

    def __init__(self, runs: VariantRuns, asked: FitRequest) -> None:
        self._runs = runs
        self._asked = asked

    def steps(self) -> Iterator[Step]:
        """Yield the config as it is, then savers added until the batch fits, then savers left out again.

        The last step that was kept is the cheapest set that fits: leaving out its costliest saver, and so on down, does
        not fit. If no set fits, all savers were tried.

        Raises:
            WorkloadError: the config itself fails for another reason than memory.
        """
        best = self._as_configured()
        yield best
        for saver in self._asked.savers:
            if best.fits:
                break
            step = self._add(saver, best)
            best = step if step.kept else best
            yield step
        if best.fits:
            yield from self._leave_out(best)

    def _as_configured(self) -> Step:
        measured = self._measure(())
        free = measured.free
        if free is not None and measured.reason is not None:
            raise WorkloadError(f"{free.model}, batch {free.batch_size:,}: {measured.reason}")
        return _decide(None, measured, None, kept=True)

    def _add(self, saver: MemorySaver, best: Step) -> Step:
        """Measure `best` with one saver more, which is kept if the batch fits with it or if it saves memory."""
        measured = self._measure((*best.savers, saver))
        helps = measured.fits or _saves(best.free, measured.free)
        return _decide(saver, measured, best.free, kept=measured.reason is None and helps)

    def _leave_out(self, best: Step) -> Iterator[Step]:
        """Measure without one saver at a time, which stays out if the batch fits without it."""
        tried: list[MemorySaver] = []
        while savers := [saver for saver in _effective(best.savers)[:-1] if saver not in tried]:
            saver = savers[-1]  # the costliest first
            tried.append(saver)
            measured = self._measure(tuple(other for other in best.savers if other != saver))
            step = _decide(saver, measured, best.free, kept=measured.fits, left_out=True)
            best = step if step.kept else best
            yield step

    def _measure(self, savers: tuple[MemorySaver, ...]) -> _Measured:
        """Run a set of savers with all the memory there is, and then within the limit."""
        try:
            config = self._asked.config_of(merged_settings(savers))
        except ConfigError as error:
            return _Measured(savers=savers, reason=str(error))
        (free,) = self._runs.records([config], MemoryBudget(unbounded=True), breakdowns=False)
        if free.status not in (Status.OK, Status.OOM):
            return _Measured(savers=savers, free=free, reason=free.error)
        return _Measured(savers=savers, free=free, within=self._run_within(config, free))

    def _run_within(self, config: SweepConfig, free: RunRecord) -> RunRecord | None:
        """Run within the limit; ``None`` without a run if the peak alone is already above it."""
        limit = self._asked.memory_bytes
        peak = peak_bytes(free)
        available = limit or self._runs.environment.gpu_total_bytes
        if peak is None or (available is not None and peak > available):
            return None
        (record,) = self._runs.records([config], MemoryBudget(limit_bytes=limit), breakdowns=False)
        return record


def peak_bytes(record: RunRecord | None, name: str = "allocated") -> int | None:
    """Return the peak of ``allocated`` or ``reserved`` bytes of a run that ran to its end, else ``None``."""
    reading: Reading | None = record.reading if record and record.status is Status.OK else None
    if reading is None:
        return None
    return reading.peak_allocated_bytes if name == "allocated" else reading.peak_reserved_bytes


def smallest_of(steps: Sequence[Step]) -> Step | None:
    """Return the step with the smallest peak, or ``None`` if none ran to its end."""
    ran = [(peak, place) for place, step in enumerate(steps) if (peak := peak_bytes(step.free)) is not None]
    return steps[min(ran)[1]] if ran else None


def cheapest_of(steps: Sequence[Step]) -> Step | None:
    """Return the last step that was kept, if it fits."""
    last = [step for step in steps if step.kept][-1]
    return last if last.fits else None


def _decide(
    saver: MemorySaver | None, measured: _Measured, before: RunRecord | None, *, kept: bool, left_out: bool = False
) -> Step:
    """Return the step of a measured set; without a `saver` it is that of the config as it is."""
    return Step(
        added=saver.name if saver else "as configured",
        cost=saver.cost if saver else "",
        savers=measured.savers,
        free=measured.free,
        within=measured.within,
        saved_bytes=_saved(before, measured.free, "allocated"),
        saved_reserved_bytes=_saved(before, measured.free, "reserved"),
        kept=kept,
        left_out=left_out,
        reason=measured.reason,
        changes_training=saver is not None and saver.changes_training,
    )


def _saves(before: RunRecord | None, after: RunRecord | None) -> bool:
    """Whether the allocated peak is lower, or equal and the reserved one lower; assumed if it is unknown."""
    saved = _saved(before, after, "allocated")
    return saved is None or (saved, _saved(before, after, "reserved") or 0) > (0, 0)


def _saved(before: RunRecord | None, after: RunRecord | None, name: str) -> int | None:
    peaks = peak_bytes(before, name), peak_bytes(after, name)
    return None if peaks[0] is None or peaks[1] is None else peaks[0] - peaks[1]


def _effective(savers: Sequence[MemorySaver]) -> list[MemorySaver]:
    """Return the savers with a setting that no later saver replaces or rules out; later ones are costlier."""
    left = merged_settings(savers)
    return [saver for saver in savers if any(setting in left for setting in saver.settings)]


def savers_for(session: LocalSession, *, same_training: bool) -> tuple[MemorySaver, ...]:
    """Return the settings to try for the session's config, in the order in which they are added.

    With `same_training`, without those that change what is trained.
    """
    config, bf16 = session.loaded.config, multiplies_bf16(session.device)
    savers = tuple(list_memory_savers(config, bf16, _has_batch_norm(session)))
    return savers if same_training else (*savers, *list_training_changes(config, bf16))


def _has_batch_norm(session: LocalSession) -> bool:
    """Return whether a module normalizes over the batch; assumed if the modules cannot be run on shapes alone."""
    try:
        rows = session.client.module_summary(session.loaded.config.points()[0]).rows
    except (WorkloadError, NoReplyError):
        return True
    return any("BatchNorm" in row.type for row in rows)
