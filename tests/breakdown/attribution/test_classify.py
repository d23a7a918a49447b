"""Classification of a block: by its label, or by the code that allocated it, its phase and its lifetime."""

from __future__ import annotations

import pytest

from memprof.breakdown.attribution import names_module
from memprof.breakdown.explanation import Category
from memprof.records import Phase
from tests.breakdown.attribution.history_builder import HistoryBuilder


def test_classify_uses_label_with_highest_priority() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD, "layer")
    weight, output, kept = history.allocate(1000), history.allocate(2000), history.allocate(3000)
    history.label(weight, Category.ACTIVATIONS)
    history.label(weight, Category.PARAMETERS, "layer.weight", "layer")
    history.label(output, Category.OUTPUT, "output of the model", "")
    history.label(kept, Category.OUTPUT, "output of the model", "")
    history.label(kept, Category.ACTIVATIONS)
    assert history.names() == [
        "parameters: layer.weight",
        "output: output of the model",
        "activations: addmm output in layer",
    ]


def test_classify_label_applies_to_block_at_its_position() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    address = history.allocate(1000)
    history.free(address)
    history.allocate(1000, address=address)
    history.label(address, Category.GRADIENTS, "gradient of w")
    history.free(address)
    history.allocate(1000, address=address)
    history.enter(1, Phase.BACKWARD)
    history.free(address)
    history.enter(2, Phase.FORWARD)
    assert history.names() == ["temporary: temporary of addmm", "gradients: gradient of w", "activations: addmm output"]


def test_classify_label_of_free_address_is_ignored() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    history.label(12345, Category.INPUT, "input")
    history.free(history.allocate(1))
    assert history.names() == ["temporary: temporary of addmm"]


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ("cublas", "cuBLAS workspace"),
        ("cublaslt", "cuBLASLt workspace"),
        ("cudnn", "cuDNN workspace of conv2d"),
        ("scratch", "workspace of sort"),
    ],
)
@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER])
def test_classify_workspace_by_stack_in_any_phase(stack: str, name: str, phase: Phase) -> None:
    history = HistoryBuilder()
    history.enter(1, phase)
    history.allocate(1000, stack)
    assert history.names() == [f"workspace: {name}"]


def test_classify_forward_kept_is_activation_rest_temporary() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD, "a")
    kept, gone = history.allocate(1000), history.allocate(2000)
    history.enter(1, Phase.FORWARD, "b")
    history.free(gone)
    loss = history.allocate(4)
    history.enter(1, Phase.BACKWARD)
    history.free(kept, loss)
    history.enter(1, Phase.OPTIMIZER)
    assert history.names() == [
        "activations: addmm output in a",
        "temporary: temporary of addmm in a",
        "activations: addmm output in b",
    ]


def test_classify_accumulated_passes_separately() -> None:
    history = HistoryBuilder()
    for _ in range(2):
        history.enter(1, Phase.FORWARD)
        kept, gone = history.allocate(1000), history.allocate(1000)
        history.free(gone)
        history.enter(1, Phase.BACKWARD)
        history.free(kept)
    history.enter(1, Phase.OPTIMIZER)
    assert history.names() == ["activations: addmm output", "temporary: temporary of addmm"] * 2


def test_classify_forward_without_backward_has_temporaries() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    history.free(history.allocate(1000))
    history.allocate(2000)
    history.enter(2, Phase.FORWARD)
    assert history.names() == ["temporary: temporary of addmm", "unknown: allocated by addmm"]


def test_classify_remaining_blocks_after_oom_are_activations() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    history.free(history.allocate(1000))
    history.allocate(2000)
    assert history.names() == ["temporary: temporary of addmm", "activations: addmm output"]


def test_classify_backward_temporary_gradient_recomputed() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    history.enter(1, Phase.BACKWARD, "b")
    within, in_flight = history.allocate(1000, "backward"), history.allocate(2000, "backward")
    history.free(within)
    history.enter(1, Phase.BACKWARD, "a", recomputes=True)
    recomputed = history.allocate(3000)
    history.enter(1, Phase.BACKWARD, "a")
    history.free(in_flight, recomputed)
    stays = history.allocate(4000, "backward")
    history.enter(1, Phase.OPTIMIZER)
    history.enter(2, Phase.ZERO_GRAD)
    history.free(stays)
    assert history.names() == [
        "temporary: temporary of mm in b",
        "temporary: gradient from MmBackward0 in b",
        "activations: addmm output, recomputed in a",
        "unknown: allocated by mm in a",
    ]


def test_classify_backward_from_stack_before_first_marker() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.LOSS)
    block = history.allocate(1000, "backward")
    history.enter(1, Phase.BACKWARD)
    history.free(block)
    history.enter(2, Phase.FORWARD)
    assert history.names() == ["temporary: gradient from MmBackward0"]
    assert history.explained().peak.phase is Phase.BACKWARD


def test_classify_between_steps_until_backward_is_input() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.ZERO_GRAD)
    batch, gone = history.allocate(1000), history.allocate(500)
    history.free(gone)
    history.enter(1, Phase.FORWARD)
    history.enter(1, Phase.BACKWARD)
    history.free(batch)
    history.enter(2, Phase.ZERO_GRAD)
    assert history.names() == ["input: addmm output", "temporary: temporary of addmm"]


def test_classify_unlabelled_optimizer_state_is_unknown() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.OPTIMIZER)
    gone, state = history.allocate(1000), history.allocate(2000)
    history.free(gone)
    history.enter(2, Phase.ZERO_GRAD)
    history.free(state)
    assert history.names() == ["temporary: temporary of addmm", "unknown: allocated by addmm"]


def test_classify_without_cpp_frames_uses_lifetimes() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    kept, workspace = history.allocate(1000, None), history.allocate(2000, None)
    history.enter(1, Phase.BACKWARD)
    history.free(kept, workspace, history.allocate(3000, None))
    history.enter(2, Phase.FORWARD)
    assert history.names() == ["activations: tensor output"] * 2 + ["temporary: temporary of an operator"]
    explained = history.explained()
    assert sum(explained.allocated_parts.values()) == explained.peak_allocated_bytes
    assert explained.allocated_parts["unknown"] == 0


def test_classify_kept_without_known_steps_is_unknown() -> None:
    history = HistoryBuilder()
    history.enter(None, Phase.FORWARD)
    history.allocate(1000)
    history.free(history.allocate(2000))
    assert history.names() == ["unknown: kept by addmm", "temporary: temporary of addmm"]


@pytest.mark.parametrize(
    ("name", "module", "expected"),
    [
        ("layer1.0.weight", "layer1.0", True),
        ("gradient of layer1.0.weight", "layer1.0", True),
        ("output of encoder", "encoder", True),
        ("gradient from AddmmBackward0", "0", False),
        ("temporary of addmm", "a", False),
        ("layer1.0.weight", "layer1.0.weight.x", False),
        ("layer10.weight", "layer1", False),
    ],
)
def test_names_module_matches_whole_path_only(name: str, module: str, expected: bool) -> None:
    assert names_module(name, module) is expected
