"""The benchmark of real loops: which answers are exact, and the page that says so."""

from __future__ import annotations

import re

import pytest

from benchmarks.plain_loop import CASES as SCRIPTS
from benchmarks.real_loops import CASES, PAGE, Row, page
from memprof.config.load import load
from tests.paths import CONFIGS


def row(at_largest: str, above: str) -> Row:
    return Row(model="gpt2", gpu="t4", largest=1234, at_largest=at_largest, above=above)


@pytest.mark.parametrize(
    ("at_largest", "above", "exact"),
    [
        ("trains", "out of memory", True),
        ("trains", "trains", False),
        ("out of memory", "out of memory", False),
        ("trains", "exit status 1", False),
    ],
)
def test_row_is_exact_if_only_the_largest_trains(at_largest: str, above: str, exact: bool) -> None:
    assert row(at_largest, above).is_exact is exact


def test_page_counts_exact_answers_and_names_each_row() -> None:
    text = page([row("trains", "out of memory"), row("trains", "trains")])
    assert "1 of 2 answers are exact" in text
    assert "| gpt2 | t4 | 1,234 | trains | 1,235: out of memory | exact |" in text
    assert "| gpt2 | t4 | 1,234 | trains | 1,235: trains | differs |" in text


def test_committed_page_has_only_exact_answers() -> None:
    exact, rows = map(int, re.findall(r"(\d+) of (\d+) answers are exact", PAGE.read_text())[0])
    assert exact == rows >= 12


@pytest.mark.parametrize("model", CASES)
def test_case_has_a_script_and_a_config_of_one_optimizer(model: str) -> None:
    config = load(CONFIGS / f"{CASES[model][0]}.yaml").config
    assert model in SCRIPTS
    # The script has the optimizer that max-batch takes: the first.
    assert config.optimizers[0].name.lower() in ("sgd", "adamw")
