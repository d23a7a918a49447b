"""Errors and verdicts of predictions against what real GPUs took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.fidelity.truth import Run


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one tool says of one run: how much it takes, ``None`` where that is not said, and whether memory does."""

    taken_bytes: int | None
    oom: bool | None


@dataclass(frozen=True, kw_only=True)
class Score:
    """How near a tool came. Errors are shares of the truth without their sign, over the runs that came to their end.

    A run that ran out of memory has no peak to be compared with; it counts among the verdicts alone.
    """

    median_error: float
    mean_error: float
    worst_error: float
    right_verdicts: int | None  # None: the tool gives none
    verdicts: int


def predicted(run: Run, taken_bytes: int | None) -> Prediction:
    """Return the prediction of a tool that gives bytes alone: out of memory where the context leaves fewer."""
    oom = None if taken_bytes is None else taken_bytes > run.available_bytes
    return Prediction(taken_bytes=taken_bytes, oom=oom)


def error(run: Run, prediction: Prediction) -> float | None:
    """Return predicted less taken, as a share of taken; ``None`` where the run or the prediction has no peak."""
    if run.oom or prediction.taken_bytes is None:
        return None
    return prediction.taken_bytes / run.taken_bytes - 1


def score(runs: Sequence[Run], predictions: Sequence[Prediction]) -> Score:
    """Return the score of one tool over all `runs`.

    Raises:
        ValueError: there is no run with an error, or not as many predictions as runs.
    """
    pairs = list(zip(runs, predictions, strict=True))
    errors = [abs(found) for run, prediction in pairs if (found := error(run, prediction)) is not None]
    if not errors:
        raise ValueError("no run has both a peak and a prediction of it")
    said = [(run.oom, prediction.oom) for run, prediction in pairs if prediction.oom is not None]
    return Score(
        median_error=median(errors),
        mean_error=mean(errors),
        worst_error=max(errors),
        right_verdicts=sum(real == told for real, told in said) if said else None,
        verdicts=len(said),
    )
