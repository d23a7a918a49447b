"""Texts that are shortened to a width."""

from __future__ import annotations

from memprof.report.terminal.layout import distinct


def test_distinct_keeps_the_end_of_texts_that_would_look_the_same() -> None:
    texts = ["adamw(lr=0.001, amsgrad=False)", "adamw(lr=0.001, amsgrad=True)", "sgd"]
    shown = distinct(texts, 20)
    assert len(set(shown)) == 3
    assert all(len(text) <= 20 for text in shown)
    assert [shown[0][-14:], shown[1][-13:], shown[2]] == ["amsgrad=False)", "amsgrad=True)", "sgd"]


def test_distinct_shows_texts_whole_that_differ_in_the_middle() -> None:
    texts = [f"adamw(lr=0.001, amsgrad={value}, weight_decay=0.0001, eps=0.001)" for value in ("True", "False")]
    assert distinct(texts, 20) == texts


def test_distinct_shortens_equal_texts_alike() -> None:
    assert distinct(["one two three four"] * 2, 12) == ["one two …"] * 2
