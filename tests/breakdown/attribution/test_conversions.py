"""Copies in another dtype, such as logits in float32: their name, and that they are listed if freed before the peak."""

from __future__ import annotations

from memprof.breakdown.explanation import Category
from memprof.records import Phase
from memprof.units import MIB
from tests.breakdown.attribution.history_builder import HistoryBuilder


def step(history: HistoryBuilder, number: int, *copies: int) -> None:
    """Run a step that copies tensors in the module `head`, frees the copies, and has its peak in backward."""
    history.enter(number, Phase.FORWARD, "head")
    kept = history.allocate(10 * MIB)
    history.free(*(history.allocate(size, "cast") for size in copies))
    history.enter(number, Phase.BACKWARD)
    history.free(history.allocate(100 * MIB, "backward"), kept)


def test_conversions_lists_largest_copy_of_each_module() -> None:
    history = HistoryBuilder("head")
    step(history, 1, 20 * MIB, 40 * MIB, 30 * MIB)
    explanation = history.explained()
    (copy,) = explanation.conversions
    assert (copy.requested_bytes, copy.module, copy.category) == (40 * MIB, "head", Category.TEMPORARY)
    assert copy.name == "copy in another dtype (to_dtype)"
    assert copy not in explanation.blocks


def test_conversions_leaves_out_small_copies_and_other_steps() -> None:
    history = HistoryBuilder("head")
    step(history, 1, 40 * MIB)
    history.enter(2, Phase.FORWARD, "head")
    history.free(history.allocate(MIB // 2, "cast"))
    kept = history.allocate(300 * MIB)
    history.enter(2, Phase.BACKWARD)
    history.free(kept)
    assert history.explained().conversions == ()


def test_copy_that_backward_needs_is_an_activation() -> None:
    history = HistoryBuilder("head")
    history.enter(1, Phase.FORWARD, "head")
    kept = history.allocate(40 * MIB, "cast")
    history.enter(1, Phase.BACKWARD)
    history.free(kept)
    (copy,) = history.explained().conversions
    assert (copy.category, copy.name) == (Category.ACTIVATIONS, "copy in another dtype (to_dtype)")
