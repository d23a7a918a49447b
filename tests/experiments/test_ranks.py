"""A small pipeline on a phantom: its ranks in a sweep, and the fullest one in the other experiments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memprof.config.load import LoadedConfig
from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.experiments.compare import VariantRuns
from memprof.experiments.explain import explain_point
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import LocalSession, open_session
from memprof.experiments.sweep import sweep_records
from memprof.gpus.select import Device
from memprof.records import RunRecord, Status, StopReason
from memprof.results import RowName
from tests.paths import CONFIGS

KWARGS = {"layers": 4, "size": 256, "heads": 4, "kv_heads": 4, "hidden": 512, "vocab": 65_536}
TOKENS = {"shape": ["seq_len"], "dtype": "int64"}
CONFIG = SweepConfig.model_validate(
    {
        "name": "stages",
        "model": {"name": "llama.py:build", "kwargs": KWARGS},
        "input": {"tokens": TOKENS, "labels": TOKENS},
        "sizes": {"seq_len": 128},
        "loss": "output",
        "steps": 3,
        "optimizers": ["sgd"],
        "batch_sizes": [8],
        "parallel": {"mesh": {"pipeline": 4}},
    }
)
BATCH = 8


@pytest.fixture(scope="module")
def session(phantom_device_h100: Device) -> Iterator[LocalSession]:
    loaded = LoadedConfig(config=CONFIG, folder=CONFIGS / "parallel", path=CONFIGS / "parallel" / "stages.yaml")
    with open_session(loaded, phantom_device_h100) as session:
        yield session


@pytest.fixture(scope="module")
def stages(session: LocalSession) -> list[RunRecord]:
    return list(sweep_records(session))


def peak_bytes(record: RunRecord) -> int:
    assert record.reading is not None
    return record.reading.peak_reserved_bytes


def test_sweep_runs_the_stages_that_differ(stages: list[RunRecord]) -> None:
    assert [(record.rank, record.status) for record in stages] == [(rank, Status.OK) for rank in range(4)]
    assert len({peak_bytes(record) for record in stages}) > 1


def test_sweep_leaves_out_the_ranks_that_are_done(session: LocalSession, stages: list[RunRecord]) -> None:
    done = [RowName("sgd", BATCH, rank=rank) for rank in (0, 1, 3)]
    (record,) = sweep_records(session, done)
    assert (record.rank, peak_bytes(record)) == (2, peak_bytes(stages[2]))


def test_comparison_has_the_fullest_rank(session: LocalSession, stages: list[RunRecord]) -> None:
    (record,) = VariantRuns(session).records([CONFIG])
    fullest = max(stages, key=peak_bytes)
    assert (record.rank, peak_bytes(record)) == (fullest.rank, peak_bytes(fullest))


def test_explanation_is_that_of_the_fullest_rank(session: LocalSession, stages: list[RunRecord]) -> None:
    explained = explain_point(session, CONFIG.points()[0])
    assert explained.record.rank == max(stages, key=peak_bytes).rank
    assert explained.explanation is not None


def test_largest_batch_trains_on_every_rank(session: LocalSession) -> None:
    limits = Limits(memory_limit_bytes=512 << 20, multiple_of=8)
    largest = [_largest(session, config, limits) for config in (CONFIG, *configs_of_ranks(CONFIG))]
    assert largest[0] == min(largest[1:]) > 0
    assert len(set(largest[1:])) > 1


def _largest(session: LocalSession, config: SweepConfig, limits: Limits) -> int:
    target = Target(config=config, optimizer=config.points()[0][0], device=session.device, extras=False)
    (answer,) = find_max_batches(session.engine, [target], limits)
    assert answer.stopped_by is StopReason.MEMORY_LIMIT
    return answer.largest_batch_size
