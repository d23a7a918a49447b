import json
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.config.yaml_lines import YamlError, parse

# YAML takes a key of up to 1024 characters, and only printable ones unescaped.
TEXT = st.text(alphabet=string.printable[:95], max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_parse_json_gives_its_value(value: Any) -> None:
    assert parse(json.dumps(value)).value == value


def test_parse_records_line_of_every_value() -> None:
    lines = parse("# a comment\na: 1\nb:\n  - x\n  - c: 2\n    d: [3,\n      4]\n").lines
    assert lines == {
        (): 2,
        ("a",): 2,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 1): 5,
        ("b", 1, "c"): 5,
        ("b", 1, "d"): 6,
        ("b", 1, "d", 0): 6,
        ("b", 1, "d", 1): 7,
    }


def test_parse_accepts_common_number_formats() -> None:
    assert parse("[1e-3, 3E4, .5, -1_000, .inf]").value == [0.001, 30000.0, 0.5, -1000, math.inf]


def test_parse_date_is_text() -> None:
    assert parse("2024-01-31").value == "2024-01-31"


def test_parse_alias_is_copy_with_own_lines() -> None:
    document = parse("a: &one {x: 1}\nb: *one\n")
    assert document.value == {"a": {"x": 1}, "b": {"x": 1}}
    assert document.value["a"] is not document.value["b"]


def test_parse_text_without_document_is_none() -> None:
    assert parse("# nothing here\n").value is None


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: b: c", 1, "broken YAML: mapping values are not allowed here"),
        (
            "a: 1\nb: [1, 2",
            2,
            "broken YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'",
        ),
        (
            "a:\n\t- 1",
            2,
            "broken YAML: while scanning for the next token, found character '\\t' that cannot start any token",
        ),
        ("a: *b", 1, "broken YAML: found undefined alias 'b'"),
        (
            "a: 1\n---\nb: 2",
            2,
            "broken YAML: expected a single document in the stream, but found another document",
        ),
        ("a: 1\nb: \x01", 2, "broken YAML: the character U+0001 is not allowed"),
        ("a:\n  b: 1\n  c: 2\n  b: 3", 4, "b: given twice, first in line 2"),
        ("on: 1", 1, "the key on is not text; put it in quotes"),
        ("[1, 2]: 3", 1, "the key in brackets is not text; put it in quotes"),
        ("a: !!set {b}", 1, "the tag !!set is not supported; write plain text, numbers and lists"),
        (
            "a: !!python/object/apply:os.getcwd []",
            1,
            "the tag !!python/object/apply:os.getcwd is not supported; write plain text, numbers and lists",
        ),
        ("a: !!int ten", 1, "'ten' cannot be read as int"),
        ('a: "\\ud800"', 1, "'\\ud800' cannot be read as str"),
        ("a: &x [1, *x]", 1, "an alias is inside the value that it repeats"),
        ("[" * 1000, 1, "nested too deeply: more than 50 levels"),
        ("a:\n  b: " + "[" * 60, 2, "nested too deeply: more than 50 levels"),
        ("- 1\n" * 20_000, 10_001, "more than 10000 values"),
        ("x" * 1_000_001, None, "longer than 1,000,000 characters"),
        ("a: 1\nb: " + "9" * 5_000, 2, f"'{'9' * 59}... has too many digits"),
        ("b: 0x" + "f" * 290, 1, f"'0x{'f' * 57}... has too many digits"),
        ("b: 1" + ":59" * 300_000, 1, f"'1{':59' * 19}:... has too many digits"),
    ],
)
def test_parse_invalid_text_is_refused_with_line(text: str, line: int | None, problem: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.problem) == (line, problem)


def test_parse_multiplying_aliases_are_refused() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(YamlError, match="more than 10000 values"):
        parse("\n".join(rows))


def test_parse_nested_aliases_are_refused_as_too_deep() -> None:
    rows = ["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100))]
    with pytest.raises(YamlError, match="nested too deeply"):
        parse("\n".join(rows))
