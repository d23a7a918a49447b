"""`memprof report`: what is saved about a config as one page, HTML or Markdown."""

from __future__ import annotations

import os
from pathlib import Path

from memprof.cli.console import stderr, stdout
from memprof.errors import ExitCode, ResultError
from memprof.report.page import ReportInputs, collect, to_html, to_markdown
from memprof.units import format_bytes


def run(place: str, root: Path, output: Path | None, markdown: bool) -> ExitCode:
    """Write the page about `place` to `output`; Markdown goes to stdout where none is given."""
    inputs = collect(place, root)
    _say_left_out(inputs)
    if markdown:
        text = to_markdown(inputs)
        if output is None or str(output) == "-":
            print(text, end="")
            return ExitCode.OK
    else:
        output, text = output or Path("report.html"), to_html(inputs)
    _write(output, text)
    made_of = ", ".join(saved.manifest.kind.noun for saved in inputs.results)
    size = format_bytes(len(text.encode()))
    stdout().print(f"{output}: {size}, of {made_of}", soft_wrap=True, markup=False)
    return ExitCode.OK


def _say_left_out(inputs: ReportInputs) -> None:
    for item in inputs.skipped:
        stderr().print(f"left out: {item.path}, {item.what}: {item.reason}", soft_wrap=True, markup=False)


def _write(path: Path, text: str) -> None:
    """Put the page in its place in one step, so that a reader finds the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not path.is_file() and path.exists():  # a pipe or a device, which cannot be replaced
            path.write_text(text, "utf-8", "replace")
            return
        beside.write_text(text, "utf-8", "replace")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ResultError(f"cannot write {path}: {error.strerror}; choose another file with --output") from None
