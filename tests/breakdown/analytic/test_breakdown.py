"""The breakdown of a point: exact figures of the small models, and errors for wrong shapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memprof.errors import WorkloadError
from memprof.records import Breakdown
from memprof.units import MIB
from tests.conftest import torch_is_at_least

BreakDowns = Callable[..., list[Breakdown]]
LT_BYTES = 0 if torch_is_at_least(2, 12) else MIB  # cuBLASLt's own
WORKSPACES_BYTES = 8_519_680 + LT_BYTES  # of one thread, before Hopper
OPTIMIZERS = ["sgd", "sgd+momentum", "adam"]


def test_break_down_mnist_mlp_matches_formulas(breakdowns: BreakDowns) -> None:
    found = breakdowns("mnist_mlp", (64, 256, 1024, 4096), optimizers=OPTIMIZERS)
    assert {row.parameters_bytes for row in found} == {4 * 101_770} == {407_080}
    assert {row.gradients_bytes for row in found} == {407_080}
    assert [row.optimizer_state_bytes for row in found] == [0] * 4 + [407_080] * 4 + [814_160] * 4
    assert [row.input_bytes for row in found[:4]] == [batch * (3136 + 8) for batch in (64, 256, 1024, 4096)]


def test_break_down_mnist_mlp_activations_match_formula(breakdowns: BreakDowns) -> None:
    # The ReLU's output serves ReLU and the last layer; cross_entropy keeps log-probabilities and its weight.
    sizes = (1, 64, 4096)
    assert [row.activations_bytes for row in breakdowns("mnist_mlp", sizes, optimizers=["sgd"])] == [
        batch * (128 + 10) * 4 + 4 for batch in sizes
    ]


def test_break_down_mnist_mlp_total_matches_table(breakdowns: BreakDowns) -> None:
    sizes = (64, 256, 1024, 4096)
    for size, row in zip(sizes, breakdowns("mnist_mlp", sizes, optimizers=["sgd"]), strict=True):
        assert row.textbook_total_bytes == 2 * 407_080 + size * (3136 + 512)
        assert row.total_bytes == row.textbook_total_bytes + size * (8 + 40) + 4 + 2 * WORKSPACES_BYTES


def test_break_down_keeps_order_of_points(breakdowns: BreakDowns) -> None:
    found = breakdowns("cifar_mlp", (8, 2, 4), optimizers=["adam", "sgd"])
    assert [row.input_bytes // (3072 * 4 + 8) for row in found] == [8, 2, 4] * 2
    assert [bool(row.optimizer_state_bytes) for row in found] == [True] * 3 + [False] * 3


def test_break_down_counts_buffers_separately(breakdowns: BreakDowns) -> None:
    (row,) = breakdowns("torchvision:resnet18", optimizers=["sgd"])
    channels = 4_800  # of its 20 batch normalisations: mean and variance in float32, one int64 counter
    assert row.buffers_bytes == channels * 8 + 20 * 8
    assert row.parameters_bytes == 11_689_512 * 4


@pytest.mark.parametrize(("precision", "size"), [("fp64", 8), ("fp16", 2), ("bf16", 2), ("amp-bf16", 4)])
def test_break_down_sizes_follow_precision(breakdowns: BreakDowns, precision: str, size: int) -> None:
    (row,) = breakdowns("mnist_mlp", (3,), precision=precision, optimizers=["adam"])
    assert row.parameters_bytes == row.gradients_bytes == 101_770 * size
    assert row.optimizer_state_bytes == 2 * 101_770 * size
    assert row.input_bytes == 3 * (784 * size + 8)


def test_break_down_inference_has_weights_and_input(breakdowns: BreakDowns) -> None:
    (row,) = breakdowns("mnist_cnn", (16,), mode="inference")
    assert row == Breakdown(
        parameters_bytes=21_840 * 4,
        buffers_bytes=0,
        gradients_bytes=0,
        optimizer_state_bytes=0,
        input_bytes=16 * 784 * 4,
        activations_bytes=0,
        workspace_bytes=WORKSPACES_BYTES,  # of the main thread; nothing runs backward
        textbook_total_bytes=21_840 * 4 + 16 * 784 * 4,
    )


def test_break_down_model_without_parameters_can_infer(breakdowns: BreakDowns) -> None:
    (row,) = breakdowns("pool_net", (4,), mode="inference", target=None)
    assert row.total_bytes == row.input_bytes == 4 * 3072 * 4


OWN = """
from torch import nn
class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.first, self.second = kind, nn.Linear(16, 16), nn.Linear(16, 16)
        if kind == "tied":
            self.second.weight = self.first.weight
        if kind == "frozen":
            self.first.requires_grad_(False)
    def forward(self, x):
        if self.kind == "looks" and x.mean().item() > 1000:
            return self.first(x)
        return self.second(self.first(x))
def build(kind):
    return Net(kind)
"""


def own(breakdowns: BreakDowns, tmp_path: Path, kind: str, **keys: Any) -> Breakdown:
    (tmp_path / "own.py").write_text(OWN)
    model = {"name": "own.py:build", "kwargs": {"kind": kind}}
    (row,) = breakdowns(model, input=[{"shape": [16]}], **{"optimizers": ["adam"], **keys})
    return row


def test_break_down_counts_tied_parameters_once(breakdowns: BreakDowns, tmp_path: Path) -> None:
    row = own(breakdowns, tmp_path, "tied")
    assert row.parameters_bytes == row.gradients_bytes == (256 + 2 * 16) * 4
    assert row.optimizer_state_bytes == 2 * row.parameters_bytes


def test_break_down_frozen_parameters_have_no_gradients(breakdowns: BreakDowns, tmp_path: Path) -> None:
    row = own(breakdowns, tmp_path, "frozen")
    assert row.parameters_bytes == 2 * (256 + 16) * 4
    assert row.gradients_bytes == (256 + 16) * 4
    assert row.optimizer_state_bytes == 2 * (256 + 16) * 4


def test_break_down_data_dependent_model_is_unknown(breakdowns: BreakDowns, tmp_path: Path) -> None:
    row = own(breakdowns, tmp_path, "looks")
    assert row.activations_bytes is None
    assert row.total_bytes is None
    assert row.gradients_bytes == 2 * (256 + 16) * 4
    assert own(breakdowns, tmp_path, "looks", mode="inference").activations_bytes == 0


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_break_down_shape_error_is_one_line_with_reason(
    breakdowns: BreakDowns, capfd: pytest.CaptureFixture[str], mode: str
) -> None:
    with pytest.raises(WorkloadError) as caught:
        breakdowns("mnist_mlp", (64,), input=[{"shape": [3, 32, 32]}], mode=mode)
    assert "mat1 and mat2 shapes cannot be multiplied (2x3072 and 784x128)" in str(caught.value)
    assert "the config's input is float32 [3, 32, 32]" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # torch logs no traceback of its own


def test_break_down_wrong_target_is_refused(breakdowns: BreakDowns) -> None:
    with pytest.raises(WorkloadError, match=r"its target int64 \[5\]"):
        breakdowns("mnist_mlp", target={"shape": [5], "dtype": "int64"})


def test_break_down_failing_batch_size_is_unknown(breakdowns: BreakDowns) -> None:
    # Batch normalisation over 1x1 pixels needs two samples.
    found = breakdowns("torchvision:resnet18", (1, 2), input=[{"shape": [3, 16, 16]}], optimizers=["sgd"])
    assert found[0].activations_bytes is None
    assert found[1].activations_bytes


def test_break_down_in_backward_has_largest_gradient(breakdowns: BreakDowns) -> None:
    (plain,) = breakdowns("mnist_mlp", optimizers=["adam"])
    (inside,) = breakdowns("mnist_mlp", optimizers=["adam"], optimizer_in_backward=True)
    assert inside.gradients_bytes == 784 * 128 * 4
    assert inside.optimizer_state_bytes == plain.optimizer_state_bytes
    assert inside.activations_bytes == plain.activations_bytes


@pytest.mark.parametrize("keys", [{"gradient_accumulation": 4}, {"set_to_none": False}, {"compile": True}])
def test_break_down_ignores_settings_without_effect(breakdowns: BreakDowns, keys: dict[str, Any]) -> None:
    assert breakdowns("mnist_mlp", optimizers=["adam"], **keys) == breakdowns("mnist_mlp", optimizers=["adam"])
