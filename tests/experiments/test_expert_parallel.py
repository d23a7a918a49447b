"""Expert parallelism of a small Mixtral on a phantom: experts are shared out, and tokens go to their ranks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.experiments.compare import VariantRuns
from memprof.experiments.session import open_session
from memprof.gpus.select import Device
from memprof.records import Phase, PhaseReading, Reading, RunRecord, Status

pytest.importorskip("transformers")

SIZES = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 512}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 8, "num_experts_per_tok": 2}
TOKENS = {"shape": [512], "dtype": "int64", "range": [0, 512]}
EXPERT_BYTES = 2 * 8 * 3 * 256 * 1024 * 4  # of two layers with eight experts of three matrices each
CASES: Mapping[str, dict[str, Any]] = {
    "shard 4": {"parallel": {"mesh": {"shard": 4}}, "routing": "balanced"},
    "expert 4": {"parallel": {"mesh": {"expert": 4}}, "routing": "balanced"},
    "shard 2 expert 4": {"parallel": {"mesh": {"shard": 2, "expert": 4}}, "routing": "balanced"},
    "expert 8": {"parallel": {"mesh": {"expert": 8}}, "routing": "balanced"},  # one expert on each rank
    "worst": {"parallel": {"mesh": {"expert": 4}}, "routing": {"worst": 4}},
    "worst rank 3": {"parallel": {"mesh": {"expert": 4}, "ranks": [3]}, "routing": {"worst": 4}},
}


def config_of(**changes: Any) -> SweepConfig:
    settings = {
        "name": "experts",
        "model": {"name": "transformers:MixtralForCausalLM", "kwargs": {**SIZES, **HEADS}},
        "input": {"input_ids": TOKENS, "labels": TOKENS},
        "loss": "output",
        "steps": 3,
        "optimizers": ["adamw"],
        "batch_sizes": [4],
    }
    return SweepConfig.model_validate({**settings, **changes})


@pytest.fixture(scope="module")
def records(phantom_device_h100: Device, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, RunRecord]:
    folder = tmp_path_factory.mktemp("experts")
    configs = [config_of(**changes) for changes in CASES.values()]
    with open_session(
        LoadedConfig(config=configs[0], folder=folder, path=Path("x.yaml")), phantom_device_h100
    ) as session:
        found = dict(zip(CASES, VariantRuns(session).records(configs), strict=True))
    assert {name: record.error for name, record in found.items() if record.status is not Status.OK} == {}
    return found


def reading_of(record: RunRecord) -> Reading:
    assert record.reading is not None
    return record.reading


def phase_of(record: RunRecord, phase: Phase) -> PhaseReading:
    return next(one for one in reading_of(record).steps[-1].phases if one.phase is phase)


def kept_bytes(record: RunRecord) -> int:
    return phase_of(record, Phase.ZERO_GRAD).allocated_after_bytes


@pytest.mark.parametrize(("name", "ranks"), [("expert 4", 4), ("shard 2 expert 4", 8)])
def test_rank_keeps_its_part_of_all_parameters(records: Mapping[str, RunRecord], name: str, ranks: int) -> None:
    shard = kept_bytes(records["shard 4"])
    less = 3 * EXPERT_BYTES // 4 - 3 * EXPERT_BYTES // ranks
    assert kept_bytes(records[name]) == pytest.approx(shard - less, rel=0.02)


def test_experts_are_not_gathered(records: Mapping[str, RunRecord]) -> None:
    """With `shard` alone, the experts of a layer are gathered from all ranks."""
    gathered, own = (phase_of(records[name], Phase.FORWARD).peak_allocated_bytes for name in ("shard 4", "expert 4"))
    assert gathered - own > EXPERT_BYTES // 2 * 3 // 4


def test_fullest_expert_needs_more_on_its_rank(records: Mapping[str, RunRecord]) -> None:
    balanced, worst, other = (reading_of(records[name]) for name in ("expert 4", "worst", "worst rank 3"))
    assert worst.peak_allocated_bytes > balanced.peak_allocated_bytes > other.peak_allocated_bytes


def test_no_value_is_unknown(records: Mapping[str, RunRecord]) -> None:
    assert {reading_of(record).zeros_read for record in records.values()} == {0}
    assert {reading_of(record).routing for record in records.values()} == {"balanced", "worst: 4×"}
