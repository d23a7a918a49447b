"""docs/reliability.md: a template, filled with the figures of the last campaigns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.machine import describe_machine
from docsite.markdown import code, table
from memprof.units import format_bytes
from tests.paths import ROOT

FIGURES = ROOT / "tests" / "reliability" / "figures"
PAGE = ROOT / "docs" / "reliability.md"
_SIGNALS = ("SIGKILL", "SIGINT", "SIGTERM", "SIGHUP")
_TARGETS = {"parent": "the command", "server": "the worker server", "child": "the child of a point"}
_DIGITS = 12

Figures = Mapping[str, Any]


def save_figures(name: str, figures: Figures) -> None:
    """Save the figures of one campaign, with the machine that it ran on."""
    FIGURES.mkdir(exist_ok=True)
    text = json.dumps({"machine": describe_machine(), **figures}, indent=1)
    (FIGURES / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write_page() -> None:
    """Write the page from the saved figures."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FIGURES.glob("*.json"))}
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML
    )
    template = environment.from_string(Path(__file__).with_name("page.md.j2").read_text(encoding="utf-8"))
    return template.render(
        **found,
        machine=found["kills"]["machine"],
        promises=_promises(found),
        fuzz_table=_fuzz_table(found["fuzz"]),
        fuzz_memory=format_bytes(found["fuzz"]["memory_bytes"]),
        kill_table=_kill_table(found["kills"]),
        kill_total=sum(found["kills"]["kills"].values()),
        half_made=_half_made(found["kills"]["half_made"]),
        storage_table=_calls_table("what is written", found["storage"]),
        commands_table=_calls_table("command", found["commands"]),
        checkpoint_table=_checkpoint_table(found["checkpoints"]),
    )


def _promises(found: Mapping[str, Figures]) -> list[Mapping[str, str]]:
    inputs = sum(kind["cases"] for kind in found["fuzz"]["kinds"].values())
    killed = sum(found["kills"]["kills"].values())
    faults = sum(sum(found[part]["cases"].values()) for part in ("storage", "commands"))
    files = sum(len(way["files"]) for way in found["checkpoints"]["ways"])
    named = (
        ("1. Any input is read, or refused in one line", f"{inputs:,} random inputs"),
        ("2. A result is there once and whole, or not at all", f"{killed} kills, {faults:,} calls that fail"),
        ("3. Nothing is left running or lying around", "processes, ledgers and files after each kill and fault"),
        ("4. The parent may disappear at any time", "tests/worker/test_server.py, test_leftovers.py"),
        ("5. Only code that memprof built is loaded", "tests/gpus/phantom/test_cache.py, test_loaded.py"),
        ("6. Results and snapshots from others are data", "the inputs of 1, tests/breakdown/test_snapshot.py"),
        ("7. Signals behave as documented", "the kills of 2, tests/cli/test_signals.py, test_streams.py"),
        ("8. Time and memory have limits", "the inputs of 1, tests/reliability/test_limits.py"),
        ("9. Your files are safe on a phantom", f"{files} files before and after, tests/gpus/phantom/test_writes*.py"),
    )
    return [{"name": name, "anchor": _anchor(name), "how": how} for name, how in named]


def _anchor(heading: str) -> str:
    """Return the anchor that Python-Markdown makes of a heading."""
    kept = "".join(character for character in heading.lower() if character.isalnum() or character in " -")
    return "-".join(kept.split())


def _fuzz_table(figures: Figures) -> str:
    rows = [
        [name, f"{kind['cases']:,}", f"{kind['refused']:,}", str(kind["problems"]), f"{kind['seconds']:.2f} s"]
        for name, kind in figures["kinds"].items()
    ]
    kinds = figures["kinds"].values()
    total = [sum(kind[key] for kind in kinds) for key in ("cases", "refused", "problems")]
    slowest = max(kind["seconds"] for kind in kinds)
    rows.append(["total", *(f"{number:,}" for number in total), f"{slowest:.2f} s"])
    return table(("kind of input", "inputs", "refused in one line", "not handled", "slowest"), rows)


def _kill_table(figures: Figures) -> str:
    counts = figures["kills"]
    rows = [[text, *(str(counts.get(f"{target} {name}", 0)) for name in _SIGNALS)] for target, text in _TARGETS.items()]
    return table(("killed", *_SIGNALS), rows)


def _half_made(count: int) -> str:
    return f"{count} folders without a manifest were left." if count else "No folder without a manifest was left."


def _calls_table(first: str, figures: Figures) -> str:
    rows = [[name, str(calls), str(figures["cases"][name])] for name, calls in figures["calls"].items()]
    return table((first, "calls that write", "cases"), rows) + f"\n\nCases with a problem: {len(figures['problems'])}."


def _checkpoint_table(figures: Figures) -> str:
    rows = [
        [way["way"], code(file["file"]), code(file["before"][:_DIGITS]), code(file["after"][:_DIGITS])]
        for way in figures["ways"]
        for file in way["files"]
    ]
    return table(("saved by", "file", "before", "after"), rows)
