"""Which knobs make a batch fit into so much memory: climbing the savers, then leaving out what was not needed.

Every step is a run, and its figures are what that run took. The set at the end has run within the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting
from memprof.errors import ConfigError, WorkloadError
from memprof.experiments.compare import MemoryBudget, VariantRuns
from memprof.experiments.memory_savers import MemorySaver, laid_out
from memprof.records import Reading, RunRecord, Status

ConfigOf = Callable[[Sequence[Setting]], SweepConfig]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One set of knobs tried. Peaks are those with all the memory there is; ``None`` where even that was too little.

    `fits` is whether the run got to its end within the memory asked for, ``None`` where it could not be run.
    """

    added: str  # the knob that was tried, or left out again
    cost: str
    savers: tuple[MemorySaver, ...]
    free: RunRecord | None
    within: RunRecord | None
    saved_bytes: int | None
    saved_reserved_bytes: int | None
    kept: bool
    left_out: bool
    reason: str | None = None  # why it could not be run

    @property
    def fits(self) -> bool:
        """Whether it ran to its end within the memory."""
        return self.within is not None and self.within.status is Status.OK


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What is to fit, and into how much. `memory_bytes` is ``None`` for all that the GPU has."""

    config_of: ConfigOf
    savers: tuple[MemorySaver, ...]
    memory_bytes: int | None


class Fit:
    """The search for one config on one GPU; its steps come as they are run."""

    def __init__(self, runs: VariantRuns, asked: FitRequest) -> None:
        self._runs = runs
        self._asked = asked

    def steps(self) -> Iterator[Step]:
        """Yield the config as it is, then each saver of the savers until one fits, then what could be left out.

        The last step that fits has the cheapest set: without its most costly knob nothing cheaper fits, and so on
        down. Where none fits, the savers was climbed to its end.

        Raises:
            WorkloadError: the config itself fails for another reason than memory.
        """
        step = self._try("as configured", "", (), None)
        if step.free is not None and step.free.status not in (Status.OK, Status.OOM):
            raise WorkloadError(f"{step.free.model}, batch {step.free.batch_size}: {step.free.error}")
        yield step
        best = step
        for saver in self._asked.savers:
            if best.fits:
                break
            step = self._try(saver.name, saver.cost, (*best.savers, saver), best)
            best = step if step.kept else best
            yield step
        if best.fits:
            yield from self._without_the_needless(best)

    def _without_the_needless(self, best: Step) -> Iterator[Step]:
        tried: list[MemorySaver] = []
        while savers := [saver for saver in _standing(best.savers)[:-1] if saver not in tried]:
            tried.append(savers[-1])  # the most costly first
            fewer = tuple(saver for saver in best.savers if saver != savers[-1])
            step = self._try(savers[-1].name, savers[-1].cost, fewer, best, left_out=True)
            best = step if step.kept else best
            yield step

    def _try(
        self, added: str, cost: str, savers: tuple[MemorySaver, ...], best: Step | None, left_out: bool = False
    ) -> Step:
        free = within = reason = None
        try:
            config = self._asked.config_of(laid_out(savers))
            (free,) = self._runs.records([config], MemoryBudget(unbounded=True), breakdowns=False)
            within = self._within(config, free)
        except ConfigError as error:
            reason = str(error).removeprefix("--vary ")
        if free is not None and free.status not in (Status.OK, Status.OOM):
            reason = free.error
        before = best.free if best else None
        saved, saved_reserved = (_saved(before, free, name) for name in ("allocated", "reserved"))
        fits = within is not None and within.status is Status.OK
        saves = saved is None or (saved, saved_reserved or 0) > (0, 0)
        return Step(
            added=added,
            cost=cost,
            savers=savers,
            free=free,
            within=within,
            saved_bytes=saved,
            saved_reserved_bytes=saved_reserved,
            kept=best is None or (fits if left_out else reason is None and (fits or saves)),
            left_out=left_out,
            reason=reason,
        )

    def _within(self, config: SweepConfig, free: RunRecord) -> RunRecord | None:
        """The run within the memory; none where the peak alone is already more than that."""
        limit = self._asked.memory_bytes
        peak = peak_bytes(free)
        available = limit or self._runs.environment.gpu_total_bytes
        if free.status is not Status.OK or (peak is not None and available is not None and peak > available):
            return None
        (record,) = self._runs.records([config], MemoryBudget(limit_bytes=limit), breakdowns=False)
        return record


def peak_bytes(record: RunRecord | None, name: str = "allocated") -> int | None:
    """Return the peak of what was ``allocated`` or ``reserved`` by a run that got to its end."""
    reading: Reading | None = record.reading if record and record.status is Status.OK else None
    if reading is None:
        return None
    return reading.peak_allocated_bytes if name == "allocated" else reading.peak_reserved_bytes


def smallest_of(steps: Sequence[Step]) -> Step | None:
    """Return the step with the smallest peak, or ``None`` where none got to its end."""
    ran = [(peak, place) for place, step in enumerate(steps) if (peak := peak_bytes(step.free)) is not None]
    return steps[min(ran)[1]] if ran else None


def cheapest_of(steps: Sequence[Step]) -> Step | None:
    """Return the last step that was kept, if it fits."""
    last = [step for step in steps if step.kept][-1]
    return last if last.fits else None


def _saved(before: RunRecord | None, after: RunRecord | None, name: str) -> int | None:
    peaks = peak_bytes(before, name), peak_bytes(after, name)
    return None if peaks[0] is None or peaks[1] is None else peaks[0] - peaks[1]


def _standing(savers: Sequence[MemorySaver]) -> list[MemorySaver]:
    """The savers of which something is left when they are laid out, the later ones being the more costly."""
    left = laid_out(savers)
    return [saver for saver in savers if any(setting in left for setting in saver.settings)]
