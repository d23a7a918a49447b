"""The batch size of a comparison that names none: the largest of the config that fits."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from memprof.errors import WorkloadError
from memprof.experiments.compare import default_batch_size
from memprof.experiments.session import Session
from memprof.records import Breakdown, Source
from tests.samples import sample_breakdown, sample_config, sample_environment

PER_SAMPLE = 1_000


class Engine:
    """Estimates 1,000 bytes for each sample; nothing at all if the model cannot be run on shapes alone."""

    def __init__(self, runs: bool) -> None:
        self.runs = runs

    def breakdowns(self, points: Sequence[tuple[Any, int]]) -> list[Breakdown]:
        if not self.runs:
            raise WorkloadError("the model needs real values")
        return [sample_breakdown(activations_bytes=size * PER_SAMPLE - 4_500) for _, size in points]


def session(total_bytes: int | None, runs: bool = True) -> Session:
    source = Source.ANALYTIC if total_bytes is None else Source.EMULATED
    environment = sample_environment(gpu_total_bytes=total_bytes, source=source)
    return cast(Session, SimpleNamespace(environment=environment, engine=Engine(runs)))


@pytest.mark.parametrize(
    ("total_bytes", "size"),
    [
        (1_280 * PER_SAMPLE, 1024),  # 80 % is just enough
        (1_279 * PER_SAMPLE, 256),
        (10 * PER_SAMPLE, 16),  # none fits
        (None, 1024),
    ],
)
def test_default_batch_is_the_largest_that_fits(total_bytes: int | None, size: int) -> None:
    assert default_batch_size(session(total_bytes), sample_config(batch_sizes=[256, 16, 1024])) == size


def test_default_batch_without_an_estimate_is_the_smallest() -> None:
    assert default_batch_size(session(10**9, runs=False), sample_config(batch_sizes=[256, 16])) == 16
    assert default_batch_size(session(1, runs=False), sample_config(batch_sizes=[256])) == 256
