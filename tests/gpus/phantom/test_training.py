"""What training code does, on the phantom: published runs to the byte, and each feature that must not crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from memprof.units import MIB
from tests.conftest import torch_is_at_least

Figures = Callable[..., Mapping[str, Any]]
# From torch 2.15 on, cuBLAS workspaces live for one call unless this is set; before, they always stayed.
KEPT_WORKSPACES = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}


@pytest.fixture(scope="module")
def training(figures: Figures) -> Mapping[str, Any]:
    return figures("training.py")


@pytest.fixture(scope="module")
def refused(figures: Figures) -> Mapping[str, Any]:
    return figures("refused.py")


def test_attention_equals_the_published_run_to_the_byte(figures: Figures) -> None:
    """Source: the memory snapshot of silmont2000/assignment2-systems (torch 2.6.0, a GPU before Hopper)."""
    found = figures("attention.py", gpu="a100-40gb", **KEPT_WORKSPACES)
    assert found["allocated"] == 3_249_144_832
    assert found["reserved"] == 3_781_165_056
    assert found["at_the_end"] == 31_719_936


def test_attention_takes_less_without_kept_cublas_workspaces(figures: Figures) -> None:
    found = figures("attention.py", gpu="a100-40gb", TORCH_CUBLAS_WORKSPACE_CACHE="0")
    figures_of_torch = [found[name] for name in ("allocated", "reserved", "at_the_end")]
    if torch_is_at_least(2, 15):
        assert figures_of_torch == [3_232_105_472, 3_265_265_664, 14_680_576]
    else:
        assert figures_of_torch == [3_249_144_832, 3_781_165_056, 31_719_936]


def test_resnet50_takes_what_the_first_probe_found(figures: Figures) -> None:
    """3029.6 MiB allocated: torch 2.14.1, cuDNN 9.24, batch 32, Adam, float32, H100.

    The probe reserved 3542 MiB, without cuBLASLt's plans for 1x1 convolutions. With them it is 3474 MiB, and 3424 MiB
    with torch 2.11.0 and cuDNN 9.19.
    """
    found = figures("resnet50.py", **KEPT_WORKSPACES)
    assert found["allocated"] / MIB == pytest.approx(3029.6, rel=0.01)
    assert found["reserved"] / MIB == pytest.approx(3474 if torch_is_at_least(2, 12) else 3424, rel=0.01)
    assert found["unknown"] == 0


def test_the_scaler_steps_the_optimizer_in_half_precision(training: Mapping[str, Any]) -> None:
    found = training["autocast"]
    assert found["dtype"] == "torch.float16"
    assert found["steps"] == [2] * found["parameters"]


def test_checkpointing_lowers_the_peak_by_dropped_activations(training: Mapping[str, Any]) -> None:
    found, activation = training["checkpointing"], 4096 * 512 * 4
    # Without it each of 8 layers keeps the output of its linear part and of its GELU.
    assert found["peak_without"] - found["peak"] == 7 * activation


@pytest.mark.parametrize(
    ("name", "features"),
    [("lstm", 64), ("deep", 128), ("projected", 16), ("unbiased", 64), ("gru", 128), ("rnn", 64)],
)
def test_a_recurrent_network_is_trained(name: str, features: int, training: Mapping[str, Any]) -> None:
    found = training["recurrents"][name]
    assert found["shape"] == [10, 4, features]
    assert found["gradients"]
    assert found["shares_one_storage"]
    assert found["apart"]


@pytest.mark.parametrize("name", ["lstm", "deep", "projected", "gru", "rnn"])
def test_flat_weights_of_a_recurrent_network_are_its_parameters(name: str, training: Mapping[str, Any]) -> None:
    found = training["recurrents"][name]
    assert found["flat_elements"] == found["parameters"]


def test_flat_weights_without_biases_keep_room_for_them(training: Mapping[str, Any]) -> None:
    """PyTorch describes every network to cuDNN with two biases for each gate."""
    found = training["recurrents"]["unbiased"]
    assert found["flat_elements"] - found["parameters"] == 2 * 4 * 64


@pytest.mark.parametrize("name", ["lstm", "deep", "projected", "unbiased", "gru", "rnn"])
def test_the_spaces_of_a_recurrent_network_count_as_unknown(name: str, training: Mapping[str, Any]) -> None:
    assert training["recurrents"][name]["unknown"] > 0


def test_memory_history_has_the_allocation_and_is_written(training: Mapping[str, Any]) -> None:
    assert training["snapshots"]["traced"] == [12_345]
    assert training["snapshots"]["dumped"]


def test_the_snapshot_adds_up_to_the_counters(training: Mapping[str, Any]) -> None:
    for name in ("reserved", "allocated"):
        summed, counted = training["snapshots"][name]
        assert summed == counted > 0


@pytest.mark.parametrize("backend", ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION"])
def test_a_fused_attention_takes_a_fraction_of_the_plain_one(backend: str, training: Mapping[str, Any]) -> None:
    scores = 2 * 8 * 1024 * 1024 * 2  # the matrix that only the plain one holds, in bytes
    assert training["attentions"]["MATH"] > 2 * scores
    assert 0 < training["attentions"][backend] < scores


@pytest.mark.parametrize("option", ["fused", "foreach", "capturable"])
def test_every_implementation_of_adam_keeps_the_same_state(option: str, training: Mapping[str, Any]) -> None:
    assert training["optimizers"][option] == ["exp_avg", "exp_avg_sq", "step"]


def test_optimizer_with_its_own_state_keeps_it(training: Mapping[str, Any]) -> None:
    assert "max_exp_avg_sq" in training["optimizers"]["amsgrad"]


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        ("sort", [1000]),
        ("topk", [5]),
        ("multinomial", [3]),
        ("randperm", [1000]),
        ("cumsum", [1000]),
        ("bessel", [1000]),  # compiled at run time by PyTorch's jiterator
        ("gcd", [1000]),
        ("embedding", [5, 4]),
        ("interpolated", [1, 3, 16, 16]),
        ("sampled", [1, 3, 8, 8]),
        ("transposed", [1, 4, 10, 10]),
        ("volume", [1, 2, 3, 6, 6]),
        ("pooled", [1, 3, 2, 2]),
        ("dense", [8, 8]),
        ("ctc", []),
    ],
)
def test_an_operation_gives_its_shape(operation: str, shape: list[int], training: Mapping[str, Any]) -> None:
    assert training["operations"][operation] == shape


def test_the_gradients_of_a_whole_network_are_there(training: Mapping[str, Any]) -> None:
    assert training["squeezenet"] == {"gradients": 52}


@pytest.mark.parametrize(
    "function",
    ["cusparseLtInit", "cudaIpcGetMemHandle", "ncclCommInitRankConfig with several processes"],
)
def test_function_that_is_not_emulated_raises_and_is_named(function: str, refused: Mapping[str, Any]) -> None:
    kind, message = refused[function]
    assert kind in ("RuntimeError", "AcceleratorError", "DistBackendError")
    assert message
    line = f"memprof phantom: {function} is not emulated; the call was refused"
    assert refused["stderr"].splitlines().count(line) == 1


def test_decoding_images_on_the_device_is_an_exception(refused: Mapping[str, Any]) -> None:
    kind, message = refused["nvjpeg"]
    assert (kind, "nvjpeg" in message) == ("RuntimeError", True)


def test_a_device_that_is_not_there_is_an_exception(refused: Mapping[str, Any]) -> None:
    assert "invalid device ordinal" in refused["index"][1]
