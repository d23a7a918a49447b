"""The batch size that a search begins with."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.allocator.growth import is_informative
from memprof.config.schema import Mode
from memprof.engines.protocol import Engine
from memprof.experiments.max_batch.situation import Start, StartOrigin
from memprof.experiments.max_batch.target import Limits, Target

_LIKELY_FREE = 0.9  # of a GPU's memory, before the size of its context is known
_LARGEST_START = 10_000  # of models so small that making their data would take longest


def find_starts(engine: Engine, targets: Sequence[Target], limits: Limits) -> list[Start]:
    """Return the batch size that each target begins with. The analytic estimate of a config is asked for once.

    Raises:
        WorkloadError: a step of the model cannot be run on shapes alone.
    """
    estimates: dict[tuple[int, int], tuple[int | None, ...]] = {}
    starts = []
    for target in targets:
        if limits.start is not None or target.config.mode is Mode.INFERENCE or target.config.parallel is not None:
            starts.append(Start(batch_size=limits.start or limits.multiple_of))
            continue
        key = id(target.config), id(target.optimizer)
        if key not in estimates:
            points = [(target.optimizer, units * limits.multiple_of) for units in (1, 2)]
            found = engine.breakdowns(points, target.config, target.device, with_peaks=False)
            estimates[key] = tuple(one.total_bytes for one in found)
        starts.append(_estimated(target.device.total_bytes, estimates[key], limits))
    return starts


def _estimated(total_bytes: int | None, analytic_bytes: tuple[int | None, ...], limits: Limits) -> Start:
    """Return about half of what fits by the analytic estimates of one unit and of two.

    It is a prime number of units, so that one run shows what grows with the batch (`memprof.allocator.growth`), unless
    the half is below all primes that do.
    """
    unit, (one, two) = limits.multiple_of, analytic_bytes
    if total_bytes is None or one is None or two is None:
        return Start(batch_size=unit)
    available = min(_LIKELY_FREE * total_bytes, limits.memory_limit_bytes or total_bytes)
    units = 1 + max(0, int((available - one) / max(two - one, 1)))
    half = max(1, min(units // 2, _LARGEST_START))
    units = next(filter(is_informative, range(half, 0, -1)), half)
    return Start(batch_size=unit * units, origin=StartOrigin.ESTIMATED)
