"""What a block held: by what the process noted, else by who asked for it, when, and how long it lived."""

from __future__ import annotations

import pytest

from memprof.breakdown.attribution import names_module
from memprof.breakdown.explanation import Category
from memprof.records import Phase
from tests.breakdown.attribution.story import Story


def test_the_strongest_label_counts() -> None:
    story = Story()
    story.at(1, Phase.FORWARD, "layer")
    weight, output, kept = story.take(1000), story.take(2000), story.take(3000)
    story.label(weight, Category.ACTIVATIONS)
    story.label(weight, Category.PARAMETERS, "layer.weight", "layer")
    story.label(output, Category.OUTPUT, "output of the model", "")
    story.label(kept, Category.OUTPUT, "output of the model", "")
    story.label(kept, Category.ACTIVATIONS)
    assert story.names() == [
        "parameters: layer.weight",
        "output: output of the model",
        "activations: addmm output in layer",
    ]


def test_a_label_is_for_whoever_lived_at_the_address_when_it_was_noted() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    address = story.take(1000)
    story.free(address)
    story.take(1000, again=address)
    story.label(address, Category.GRADIENTS, "gradient of w")
    story.free(address)
    story.take(1000, again=address)
    story.at(1, Phase.BACKWARD)
    story.free(address)
    story.at(2, Phase.FORWARD)
    assert story.names() == ["temporary: temporary of addmm", "gradients: gradient of w", "activations: addmm output"]


def test_an_address_where_nothing_is_has_no_holder() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    story.label(12345, Category.INPUT, "input")
    story.free(story.take(1))
    assert story.names() == ["temporary: temporary of addmm"]


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
def test_workspaces_are_told_by_who_asked_whenever(stack: str, name: str, phase: Phase) -> None:
    story = Story()
    story.at(1, phase)
    story.take(1000, stack)
    assert story.names() == [f"workspace: {name}"]


def test_what_the_forward_pass_keeps_for_backward_is_an_activation_and_all_else_temporary() -> None:
    story = Story()
    story.at(1, Phase.FORWARD, "a")
    kept, gone = story.take(1000), story.take(2000)
    story.at(1, Phase.FORWARD, "b")
    story.free(gone)
    loss = story.take(4)
    story.at(1, Phase.BACKWARD)
    story.free(kept, loss)
    story.at(1, Phase.OPTIMIZER)
    assert story.names() == [
        "activations: addmm output in a",
        "temporary: temporary of addmm in a",
        "activations: addmm output in b",
    ]


def test_accumulated_passes_each_have_a_backward_of_their_own() -> None:
    story = Story()
    for _ in range(2):
        story.at(1, Phase.FORWARD)
        kept, gone = story.take(1000), story.take(1000)
        story.free(gone)
        story.at(1, Phase.BACKWARD)
        story.free(kept)
    story.at(1, Phase.OPTIMIZER)
    assert story.names() == ["activations: addmm output", "temporary: temporary of addmm"] * 2


def test_a_forward_pass_without_backward_only_has_temporaries_and_what_outlives_the_step() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    story.free(story.take(1000))
    story.take(2000)
    story.at(2, Phase.FORWARD)
    assert story.names() == ["temporary: temporary of addmm", "unknown: made by addmm"]


def test_what_is_left_when_memory_ran_out_would_have_been_kept() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    story.free(story.take(1000))
    story.take(2000)
    assert story.names() == ["temporary: temporary of addmm", "activations: addmm output"]


def test_the_backward_pass_has_temporaries_gradients_on_their_way_and_recomputed_activations() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    story.at(1, Phase.BACKWARD, "b")
    within, on_its_way = story.take(1000, "backward"), story.take(2000, "backward")
    story.free(within)
    story.at(1, Phase.BACKWARD, "a", recomputes=True)
    recomputed = story.take(3000)
    story.at(1, Phase.BACKWARD, "a")
    story.free(on_its_way, recomputed)
    stays = story.take(4000, "backward")
    story.at(1, Phase.OPTIMIZER)
    story.at(2, Phase.ZERO_GRAD)
    story.free(stays)
    assert story.names() == [
        "temporary: temporary of mm in b",
        "temporary: gradient from MmBackward0 in b",
        "activations: addmm output, recomputed in a",
        "unknown: made by mm in a",
    ]


def test_a_backward_pass_shows_in_the_stack_before_its_first_mark() -> None:
    story = Story()
    story.at(1, Phase.LOSS)
    block = story.take(1000, "backward")
    story.at(1, Phase.BACKWARD)
    story.free(block)
    story.at(2, Phase.FORWARD)
    assert story.names() == ["temporary: gradient from MmBackward0"]
    assert story.explained().peak.phase is Phase.BACKWARD


def test_what_is_made_between_two_steps_and_lasts_into_backward_is_input() -> None:
    story = Story()
    story.at(1, Phase.ZERO_GRAD)
    batch, gone = story.take(1000), story.take(500)
    story.free(gone)
    story.at(1, Phase.FORWARD)
    story.at(1, Phase.BACKWARD)
    story.free(batch)
    story.at(2, Phase.ZERO_GRAD)
    assert story.names() == ["input: addmm output", "temporary: temporary of addmm"]


def test_an_optimizer_has_temporaries_and_what_it_keeps_unnoted_is_unknown() -> None:
    story = Story()
    story.at(1, Phase.OPTIMIZER)
    gone, state = story.take(1000), story.take(2000)
    story.free(gone)
    story.at(2, Phase.ZERO_GRAD)
    story.free(state)
    assert story.names() == ["temporary: temporary of addmm", "unknown: made by addmm"]


def test_without_frames_of_cpp_lifetimes_tell_all_but_workspaces() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    kept, workspace = story.take(1000, None), story.take(2000, None)
    story.at(1, Phase.BACKWARD)
    story.free(kept, workspace, story.take(3000, None))
    story.at(2, Phase.FORWARD)
    assert story.names() == ["activations: tensor output"] * 2 + ["temporary: temporary of an operator"]
    explained = story.explained()
    assert sum(explained.allocated_parts.values()) == explained.peak_allocated_bytes
    assert explained.allocated_parts["unknown"] == 0


def test_where_nobody_counts_steps_what_stays_is_unknown() -> None:
    story = Story()
    story.at(None, Phase.FORWARD)
    story.take(1000)
    story.free(story.take(2000))
    assert story.names() == ["unknown: kept by addmm", "temporary: temporary of addmm"]


@pytest.mark.parametrize(
    ("name", "module", "says"),
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
def test_a_name_says_its_module_only_as_a_whole(name: str, module: str, says: bool) -> None:
    assert names_module(name, module) is says
