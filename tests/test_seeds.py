"""The figures of the lessons that the built-in models come from: each row of their tables is reproduced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memprof.breakdown.analytic import break_down, summarize_modules
from memprof.config.load import load
from memprof.config.schema import Mode, SweepConfig
from memprof.errors import WorkloadError
from memprof.gpus.traits import default_traits
from memprof.records import Breakdown, safe_batch_size
from memprof.workload import build_model
from tests.paths import CONFIGS

MODELS = {
    "mnist_mlp": 100_480 + 1_290,
    "cifar_mlp": 393_344 + 1_290,
    "mnist_cnn": 21_840,
    "cifar_conv": 168,
    "pool_net": 0,
    "conv_relu": 10_540,
}
# Parameters and gradients, and for each sample the pixels and the hidden layer as float32.
MLP_BYTES = {64: 1_047_632, 256: 1_748_048, 1024: 4_549_712, 4096: 15_756_368}

RAW_PIXELS = """
from torch import nn

class RawPixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, pixels):
        return self.layers((pixels.float() / 255 - 0.1307) / 0.3081)

def build():
    return RawPixels()
"""


def config_of(name: str, **changes: Any) -> SweepConfig:
    return load(CONFIGS / f"{name}.yaml").config.model_copy(update=changes)


def estimates(config: SweepConfig, folder: Path = CONFIGS) -> Mapping[tuple[str | None, int], Breakdown]:
    """Return the breakdown of each point of a config."""
    points = config.points()
    found = break_down(build_model(config, folder), config, points, default_traits())
    return {(spec.label if spec else None, size): row for (spec, size), row in zip(points, found, strict=True)}


@pytest.mark.parametrize(("name", "parameters"), MODELS.items())
def test_seed_model_has_its_parameters(name: str, parameters: int) -> None:
    config = config_of(name)
    summary = summarize_modules(build_model(config, CONFIGS), config, *config.points()[0])
    assert summary.rows[0].parameters == parameters
    assert summary.rows[0].parts["parameters"] == 4 * parameters


def test_seed_output_of_cifar_conv_is_6x30x30() -> None:
    config = config_of("cifar_conv")
    summary = summarize_modules(build_model(config, CONFIGS), config, config.optimizers[0], 5)
    assert summary.rows[0].calls == (((5, 6, 30, 30),),)


def test_seed_mnist_cnn_has_its_loss_and_optimizer() -> None:
    config = config_of("mnist_cnn")
    assert config.loss.name == "nll_loss"
    assert [(spec.name, spec.kwargs) for spec in config.optimizers] == [("sgd", {"lr": 0.01, "momentum": 0.5})]


def test_seed_pool_net_infers_and_does_not_train() -> None:
    assert set(estimates(config_of("pool_net"))) == {(None, size) for size in (16, 64, 256, 1024, 4096)}
    training = config_of("pool_net", mode=Mode.TRAIN)
    with pytest.raises(WorkloadError, match=r"pool_net.* has no parameters"):
        estimates(training)


@pytest.mark.parametrize(("batch_size", "textbook_bytes"), MLP_BYTES.items())
def test_seed_table_of_mnist_mlp_is_exact(batch_size: int, textbook_bytes: int) -> None:
    row = estimates(config_of("mnist_mlp"))["sgd", batch_size]
    assert row.textbook_total_bytes == textbook_bytes == 2 * 407_080 + batch_size * (3_136 + 512)


def test_seed_optimizer_state_is_none_for_sgd_and_two_for_adam() -> None:
    rows = estimates(config_of("mnist_mlp"))
    states = {label: rows[label, 64].optimizer_state_bytes for label in ("sgd", "sgd+momentum", "adam")}
    assert states == {"sgd": 0, "sgd+momentum": 101_770 * 4, "adam": 101_770 * 8}


def test_seed_only_data_and_activations_grow_with_the_batch() -> None:
    rows = estimates(config_of("mnist_mlp"))
    small, large = rows["adam", 64], rows["adam", 4096]
    fixed = ("parameters_bytes", "buffers_bytes", "gradients_bytes", "optimizer_state_bytes", "workspace_bytes")
    assert all(getattr(small, name) == getattr(large, name) for name in fixed)
    assert large.input_bytes == 64 * small.input_bytes
    assert large.activations_bytes is not None
    assert small.activations_bytes is not None
    assert large.activations_bytes > 60 * small.activations_bytes


def test_seed_pixels_take_1_byte_as_uint8_and_4_as_float32(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text(RAW_PIXELS)
    label = {"shape": [], "dtype": "int64", "range": [0, 10]}
    pixels = {"shape": [1, 28, 28], "dtype": "uint8"}
    base = {"name": "x", "model": "raw.py:build", "input": pixels, "target": label, "batch_sizes": [100]}
    raw = estimates(SweepConfig.model_validate({**base, "optimizers": ["sgd"]}), tmp_path)["sgd", 100]
    floats = estimates(config_of("mnist_mlp", batch_sizes=(100,)))["sgd", 100]
    assert raw.input_bytes == 100 * (784 + 8)
    assert floats.input_bytes == 100 * (3_136 + 8)
    assert raw.activations_bytes is not None
    assert floats.activations_bytes is not None
    assert raw.activations_bytes == floats.activations_bytes + 100 * 3_136  # the pixels as float32


def test_seed_inference_keeps_no_activations() -> None:
    row = estimates(config_of("mnist_mlp", mode=Mode.INFERENCE))[None, 4096]
    assert row.activations_bytes == row.gradients_bytes == row.optimizer_state_bytes == 0


def test_seed_safe_batch_is_80_percent_of_the_largest() -> None:
    assert [safe_batch_size(largest, 1) for largest in (0, 1, 10, 16, 686)] == [0, 0, 8, 12, 548]


def test_seed_bert_base_takes_400_mb_and_800_with_gradients() -> None:
    pytest.importorskip("transformers")
    loaded = load(CONFIGS / "hub" / "bert_base.yaml")
    spec, _ = loaded.config.points()[0]
    model = build_model(loaded.config, loaded.folder)
    (row,) = break_down(model, loaded.config, [(spec, 1)], default_traits())
    assert 400e6 < row.parameters_bytes < 450e6
    assert row.gradients_bytes == row.parameters_bytes


def test_seed_summary_does_not_depend_on_the_batch_size() -> None:
    config = config_of("mnist_mlp")
    parts = ("parameters", "gradients", "optimizer_state")
    found = [summarize_modules(build_model(config, CONFIGS), config, config.optimizers[0], size) for size in (1, 4096)]
    one, many = ([[row.parts[part] for part in parts] for row in summary.rows] for summary in found)
    assert json.dumps(one) == json.dumps(many)
