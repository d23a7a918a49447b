"""Blocks of output in pages: found, compared, written anew."""

from __future__ import annotations

from subprocess import CompletedProcess

import pytest

from docsite.outputs import find_blocks, refreshed, without_times

PRINTED = "saved in results/a\nfirst\n\nsecond   \n\nthird\n"


def page(options: str, text: str) -> str:
    """A page with one block."""
    return f"before\n\n<!-- output{options}: memprof gpus -->\n```text\n{text}```\n\nafter\n"


def ended(stdout: str = PRINTED, stderr: str = "") -> dict[str, CompletedProcess[str]]:
    """A run of the block's command."""
    return {"memprof gpus": CompletedProcess([], 0, stdout, stderr)}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("", "$ memprof gpus\nfirst\n\nsecond\n\nthird\n"),
        (" 2", "$ memprof gpus\nsecond\n"),
        (" 2-3", "$ memprof gpus\nsecond\n\nthird\n"),
    ],
)
def test_refreshed_writes_the_paragraphs_that_are_shown(options: str, shown: str) -> None:
    assert refreshed(page(options, ""), ended()) == page(options, shown)
    assert refreshed(page(options, "old\n"), ended()) == page(options, shown)


def test_refreshed_takes_stderr_if_the_block_says_so() -> None:
    assert refreshed(page(" stderr", ""), ended(stderr="a peak\n")) == page(" stderr", "$ memprof gpus\na peak\n")


def test_refreshed_keeps_a_page_whose_times_alone_differ() -> None:
    text = page("", "$ memprof gpus\n3 in 0.4 s\n  1 ok 1.00 GiB 0.2\n")
    assert refreshed(text, ended("3 in 1.7 s\n  1 ok 1.00 GiB 3.1\n")) == text
    assert refreshed(text, ended("3 in 1.7 s\n  1 ok 1.50 GiB 3.1\n")) != text


def test_without_times_keeps_sizes() -> None:
    assert without_times("3 in 0.4 s, 2.35 GiB") == "3 in … s, 2.35 GiB"


def test_find_blocks_reads_command_paragraphs_and_stream() -> None:
    (block,) = find_blocks(page(" 1-2 stderr", "text\n"))
    assert (block.command, block.paragraphs, block.stderr, block.text) == ("memprof gpus", (1, 2), True, "text\n")
