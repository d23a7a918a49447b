import pytest

from memprof.errors import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "names", "near"),
    [
        ("optimizer", ["optimizers", "steps"], "optimizers"),
        ("ADMAW", ["Adam", "AdamW", "SGD"], "AdamW"),
        ("adma", ["adam", "adamax", "adamw"], "adam"),
        ("frobnicate", ["steps", "seed"], None),
        ("anything", [], None),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(word: str, names: list[str], near: str | None) -> None:
    assert nearest(word, names) == near


def test_a_suggestion_is_made_only_where_a_name_is_near() -> None:
    assert did_you_mean("sed", ["seed"]) == "; did you mean seed?"
    assert did_you_mean("xyz", ["seed"]) == ""
