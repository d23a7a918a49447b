"""Fields of saved dataclasses: names, types in the words of JSON, comments."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from docsite.fields import field_comments, fields_reference, json_type


@dataclass
class Sample:
    """What the tests read."""

    first: int  # how many
    second: str | None
    # a comment of its own line belongs to no field
    third: tuple[int, ...]  # over several lines


def test_field_comments_are_those_on_the_line_of_the_field() -> None:
    assert field_comments(Sample) == {"first": "how many", "third": "over several lines"}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("int", "integer"),
        ("int | None", "integer or null"),
        ("tuple[Trial, ...]", "list of `Trial`"),
        ("dict[str, Any]", "mapping"),
        ("Parts | None", "mapping or null"),
        ("StopReason", "`StopReason`"),
    ],
)
def test_json_type_uses_the_words_of_json(annotation: str, words: str) -> None:
    assert json_type(annotation) == words


def test_fields_reference_has_a_row_for_each_field() -> None:
    lines = fields_reference("memprof.records.PhaseReading").splitlines()
    assert lines[0] == "| field | type | meaning |"
    assert "| `peak_reserved_bytes` | integer |  |" in lines
    assert len(lines) == 2 + 6
