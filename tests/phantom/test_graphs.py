"""CUDA graphs: a capture that agrees with itself, forbids what a real one forbids, and keeps its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Figures = Callable[..., Mapping[str, Any]]


@pytest.fixture(scope="module")
def by_backend(figures: Figures) -> Mapping[str, Mapping[str, Any]]:
    return {name: figures("graphs.py", PYTORCH_ALLOC_CONF=f"backend:{name}") for name in ("native", "cudaMallocAsync")}


@pytest.fixture(params=["native", "cudaMallocAsync"])
def graphs(request: pytest.FixtureRequest, by_backend: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return by_backend[request.param]


def test_torch_knows_when_it_is_capturing_and_replays_the_graph(graphs: Mapping[str, Any]) -> None:
    assert graphs["capture"] == {"states": [False, True, False], "shape": [10, 10]}


def test_a_stream_that_waits_for_a_captured_one_is_captured_until_the_capture_ends(
    graphs: Mapping[str, Any],
) -> None:
    assert graphs["forked"] == [True, False]


def test_the_memory_of_a_graph_is_kept_until_the_graph_is_gone(
    by_backend: Mapping[str, Mapping[str, Any]],
) -> None:
    """With the native allocator; under cudaMallocAsync a phantom's pool takes it back when the tensor dies."""
    assert by_backend["native"]["pool"] == {"held": 64 << 20, "with_graph": 64 << 20, "without": 0}


def test_a_model_can_be_made_of_graphs_and_trained(graphs: Mapping[str, Any]) -> None:
    assert graphs["graphed"] == {"gradients": True}


def test_graphs_that_share_a_pool_use_the_same_memory(graphs: Mapping[str, Any]) -> None:
    assert graphs["two_in_one_pool"] == {"same": True, "reserved": 64 << 20}


def test_a_whole_training_step_is_captured_and_replayed_without_taking_more(graphs: Mapping[str, Any]) -> None:
    captured, replayed = graphs["whole_step"]["allocated"]
    assert captured == replayed > 0


def test_the_default_stream_cannot_be_captured(graphs: Mapping[str, Any]) -> None:
    assert "non-default stream" in graphs["legacy"]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("item", "operation not permitted when stream is capturing"),
        ("synchronize", "operation not permitted when stream is capturing"),
        ("query", "operation not permitted when stream is capturing"),
        ("unjoined", "capturing stream has unjoined work"),
        ("outside", "dependency created on uncaptured work in another stream"),
    ],
)
def test_what_a_real_capture_forbids_fails_in_cudas_own_words(
    action: str, reason: str, graphs: Mapping[str, Any]
) -> None:
    assert reason in graphs["forbidden"][action]


def test_a_handle_of_cublas_cannot_be_made_within_a_capture(by_backend: Mapping[str, Mapping[str, Any]]) -> None:
    """As on a card: a network is run once before it is captured."""
    assert "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`" in by_backend["native"]["too_early"]


def test_what_a_capture_allows_goes_through_also_after_others_failed(graphs: Mapping[str, Any]) -> None:
    assert graphs["forbidden"]["nothing"] == "went through"
    assert graphs["afterwards"] == 0.0
