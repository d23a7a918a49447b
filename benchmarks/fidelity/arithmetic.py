"""Calculate errors and verdicts of predictions from the figures of real GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.fidelity.truth import Run


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One tool's prediction of one run: the bytes that it takes, and whether it runs out of memory, if known."""

    taken_bytes: int | None
    oom: bool | None


@dataclass(frozen=True, kw_only=True)
class Score:
    """The errors of a tool: absolute, as shares of the real figure, over the runs that finished.

    A run that ran out of memory has no peak to compare with; only its verdict counts.
    """

    median_error: float
    mean_error: float
    worst_error: float
    right_verdicts: int | None  # None if the tool gives none
    verdicts: int


def predicted(run: Run, taken_bytes: int | None) -> Prediction:
    """Return the prediction of a tool that only gives bytes: out of memory if they do not fit next to the context."""
    oom = None if taken_bytes is None else taken_bytes > run.available_bytes
    return Prediction(taken_bytes=taken_bytes, oom=oom)


def error(run: Run, prediction: Prediction) -> float | None:
    """Return predicted minus taken, divided by taken; ``None`` if the run or the prediction has no peak."""
    if run.oom or prediction.taken_bytes is None:
        return None
    return prediction.taken_bytes / run.taken_bytes - 1


def score(runs: Sequence[Run], predictions: Sequence[Prediction]) -> Score:
    """Return the score of one tool over all `runs`.

    Raises:
        ValueError: no run has an error, or the numbers of runs and predictions differ.
    """
    pairs = list(zip(runs, predictions, strict=True))
    errors = [abs(found) for run, prediction in pairs if (found := error(run, prediction)) is not None]
    if not errors:
        raise ValueError("no run has both a peak and a prediction of it")
    verdicts = [(run.oom, prediction.oom) for run, prediction in pairs if prediction.oom is not None]
    return Score(
        median_error=median(errors),
        mean_error=mean(errors),
        worst_error=max(errors),
        right_verdicts=sum(real == predicted_oom for real, predicted_oom in verdicts) if verdicts else None,
        verdicts=len(verdicts),
    )
