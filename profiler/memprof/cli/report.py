"""`memprof report`: write one page about the saved results of a config, as HTML or Markdown."""

from __future__ import annotations

from pathlib import Path

from memprof.cli import options
from memprof.cli.console import print_text, stderr, stdout
from memprof.errors import ExitCode, ResultError
from memprof.report.page import ReportInputs, collect, to_html, to_markdown
from memprof.results.files import replace_file

EXAMPLES = """\
memprof report resnet50 -o report.html
memprof report resnet50 --markdown"""


def command(
    result: options.SavedResult,
    output: options.ReportOutput = None,
    markdown: options.Markdown = False,
    output_dir: options.OutputDir = Path("results"),
) -> int:
    """Write the page."""
    return run(result, output_dir, output, markdown)


def run(place: str, root: Path, output: Path | None, markdown: bool) -> ExitCode:
    """Write the page about `place` to `output`; Markdown goes to stdout if none is given."""
    inputs = collect(place, root)
    _print_skipped(inputs)
    if markdown:
        text = to_markdown(inputs)
        if output is None or str(output) == "-":
            print_text(text)
            return ExitCode.OK
    else:
        output, text = output or Path("report.html"), to_html(inputs)
    _write(output, text)
    sources = ", ".join(saved.manifest.kind.value for saved in inputs.results)
    stdout().print(f"Wrote {output} ({sources})", soft_wrap=True)
    return ExitCode.OK


def _print_skipped(inputs: ReportInputs) -> None:
    for item in inputs.skipped:
        stderr().print(f"Skipped {item.path} ({item.what}): {item.reason}", soft_wrap=True)


def _write(path: Path, text: str) -> None:
    """Replace the page in one step, so that a reader finds the old one or the new one."""
    try:
        if not path.is_file() and path.exists():  # a pipe or a device, which cannot be replaced
            path.write_text(text, "utf-8", "replace")
        else:
            replace_file(path, text)
    except OSError as error:
        raise ResultError(f"cannot write {path}: {error.strerror}; choose another file with --output") from None
