"""The words that users read are plain: no private word of the glossary in help, errors, output or documentation."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import memprof
from memprof.cli.app import COMMANDS, GROUPS, load_command
from memprof.errors import EXIT_MEANINGS
from tests.paths import PACKAGE, ROOT

# What must not be written, and what is written instead.
BANNED = {
    r"knobs?": "setting",
    r"hollow": "emulated CUDA driver: allocations are tracked, kernels do not run",
    r"battery": "test cases",
    r"ladders?|rungs?": "memory levels, memory savers",
    r"rehears\w*|act(s|ed|ing)? out": "simulate, replay",
    r"(take|takes|taken|taking|took) (\w+ ){0,3}apart": "what the peak consists of, break down, attribute",
    r"high(est)? points?": "peak",
    r"mend(s|ed|ing)?": "fix",
    r"defects?": "internal error",
    r"(can|could|cannot|can't) be had": "available, unavailable",
    r"error[ _-]bars?": "spread, --spread",
    r"prov(e|es|en|ed|ing)": "verify, verified",
    r"stand-ins?": "fake CUDA",
    r"cards?": "GPU",
    r"nouns?": "data model",
    r"(peak|total|allocated|reserved|bytes|figure) less (the |its )?\w+": "X minus Y, X − Y, change vs base",
    r"afresh": "start over",
    r"unlikeness\w*": "mismatch",
    r"(a|an|each|every|per|this|that) try": "trial",
    r"the edge": "boundary, limit",
    r"spared": "not needed",
    r"one's own": "your own",
    r"so (many|much)": "several, this much",
    r"beside": "next to",
    r"behind": "after, below",
    r"told": "reported, named",
    r"(can|could|may) play|plays": "simulate",
    r"none here": "none found",
    r"left out:": "Skipped",
    r"asked for at": "allocated at",
    r"lie deeper": "hidden; use --depth N",
    r"in no block": "cached by the allocator, unused",
    r"\d\. next": "2nd highest",
    r"[KMGT]iB a sample": "MiB × batch, per sample",
}
_PATTERNS = {re.compile(rf"(?<!\w)(?:{words})(?![\w-])", re.IGNORECASE): plain for words, plain in BANNED.items()}
Text = tuple[int, str]  # a line number and what is there


def found_in(texts: Iterator[Text]) -> list[str]:
    """Return a complaint for each banned word, with the line and what to write instead."""
    return [
        f"line {line}: {match[0]!r}, write: {plain}"
        for line, text in texts
        for pattern, plain in _PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def check(texts: Iterator[Text]) -> None:
    found = found_in(texts)
    assert not found, "\n".join(found)


def help_texts() -> Iterator[Text]:
    yield from ((0, text) for text in (*GROUPS, *COMMANDS.values(), *EXIT_MEANINGS.values()))
    for name in COMMANDS:
        command = load_command(name)
        texts = (command.help, command.epilog, *(parameter.help for parameter in command.params))
        yield from ((0, f"{name}: {text}") for text in texts if text)


def public_docstrings() -> Iterator[Text]:
    yield 0, inspect.getdoc(memprof) or ""
    for name in memprof.__all__:
        thing = getattr(memprof, name)
        members = vars(thing).items() if inspect.isclass(thing) else ()
        documented = [(name, thing), *((f"{name}.{key}", member) for key, member in members if not key.startswith("_"))]
        yield from ((0, f"{place}: {inspect.getdoc(item) or ''}") for place, item in documented)


def error_messages(tree: ast.AST) -> Iterator[Text]:
    """Yield the text of every `raise`: what its exception is made with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from literals(node.exc)


def literals(tree: ast.AST) -> Iterator[Text]:
    """Yield the strings of a piece of code; of an f-string, its constant parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def shown_texts(tree: ast.Module) -> Iterator[Text]:
    """Yield the strings of a module that makes output, without its docstrings."""
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(scope.body[0].value)
        for scope in ast.walk(tree)
        if isinstance(scope, scopes) and scope.body and isinstance(scope.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


SOURCES = sorted(PACKAGE.rglob("*.py"))
OUTPUT = [file for file in SOURCES if file.relative_to(PACKAGE).parts[0] in ("cli", "report", "api.py")]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("texts", [help_texts, public_docstrings])
def test_help_and_public_docstrings_use_plain_words(texts: Callable[[], Iterator[Text]]) -> None:
    check(texts())


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_error_messages_use_plain_words(file: Path) -> None:
    check(error_messages(parsed(file)))


@pytest.mark.parametrize("file", OUTPUT, ids=name_of)
def test_output_uses_plain_words(file: Path) -> None:
    check(shown_texts(parsed(file)))


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_documentation_uses_plain_words(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    check(iter(enumerate(lines, start=1)))


@pytest.mark.parametrize(
    "phrase",
    [
        "The peak, taken apart",
        "take that peak apart",
        "how to make it a phantom GPU can play",
        "what would mend it",
        "peak less total",
        "the GPU cannot be had",
        "--error-bar",
        "on the card every kernel would fail",
        "84 MiB a sample",
        "2. next",
    ],
)
def test_banned_words_are_found_in_old_phrases(phrase: str) -> None:
    assert found_in(iter([(1, phrase)]))


@pytest.mark.parametrize(
    "phrase",
    ["less fragmentation", "benchmarks/beside_card.py", "at most 10 trials", "improve", "discard", "a recommended GPU"],
)
def test_plain_phrases_are_accepted(phrase: str) -> None:
    check(iter([(1, phrase)]))


def test_error_messages_are_those_of_raise_statements() -> None:
    code = 'def f():\n    """docs"""\n    x = "not this"\n    raise ValueError(f"{x} is wrong, " + "really")\n'
    assert [text for _, text in error_messages(ast.parse(code))] == ["really", " is wrong, "]
    assert [text for _, text in shown_texts(ast.parse(code))] == ["not this", "really", " is wrong, "]
