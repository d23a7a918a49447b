"""The config reference has every key of the schema, with its default and its limits."""

from __future__ import annotations

import pytest

from docsite.config_keys import config_reference
from memprof.config.load import json_schema

PAGE = config_reference()


def section(key: str) -> str:
    """The text below the first heading of that key, up to the next heading."""
    return PAGE.split(f"### `{key}`\n", 1)[1].split("\n#", 1)[0]


@pytest.mark.parametrize("key", json_schema()["properties"])
def test_config_reference_has_every_key_with_its_description(key: str) -> None:
    words = json_schema()["properties"][key]["description"].split()
    assert " ".join(words)[1:].rstrip(".") in section(key)


def test_config_reference_has_the_keys_of_every_nested_section() -> None:
    for definition in json_schema()["$defs"].values():
        for key in definition.get("properties", {}):
            assert f"### `{key}`" in PAGE


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("model", "- Required"),
        ("precision", "- Default: `fp32`"),
        ("precision", "- Type: one of `fp32`, `fp64`, `bf16`, `fp16`, `amp-bf16`, `amp-fp16`"),
        ("steps", "- Limits: at least `3`, at most `10,000`"),
        ("batch_sizes", "- Default: `{start: 16, stop: 1024, factor: 2.0}`"),
        ("tf32", "- Type: true or false or null"),
        ("channels_last", "- Default: `false`"),
        ("allocator", "- Examples: `expandable_segments:True`"),
        ("target", "- Default: not set"),
        ("input", "- Type: [part section](#section-part)"),
        ("sizes", "- Type: mapping of a name to (integer or list of (integer) or mapping)"),
        ("range", "- Type: list of 2: (integer or text), (integer or text) or null"),
    ],
)
def test_config_reference_gives_type_default_and_limits(key: str, line: str) -> None:
    assert line in section(key).splitlines()


def test_config_reference_links_lead_to_sections() -> None:
    assert "[optimizer section](#section-optimizer)" in section("optimizers")
    assert "## Section: optimizer" in PAGE
    assert "- list of ([part section](#section-part))" in PAGE.split("## Section: part")[1].splitlines()
