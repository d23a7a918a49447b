"""`memprof export`: the rows of a saved sweep or comparison for another tool."""

from __future__ import annotations

from pathlib import Path

from memprof.cli import options
from memprof.cli.console import stdout
from memprof.errors import ExitCode
from memprof.results import load
from memprof.results.export import export

EXAMPLES = """\
memprof export resnet50 --to parquet -o resnet50.parquet
memprof export resnet50 --to tensorboard
memprof export resnet50 --to wandb -o my_project"""


def command(
    result: options.SavedResult,
    to: options.ExportTo,
    output: options.ExportPlace = None,
    output_dir: options.OutputDir = Path("results"),
) -> int:
    """Write the rows of a saved result for another tool."""
    return run(result, to, output, output_dir)


def run(result: str, to: str, place: str | None, root: Path) -> ExitCode:
    """Export the result that `result` names, and print where the rows are."""
    stdout().print(export(load(result, root), to, place), soft_wrap=True, highlight=False, markup=False)
    return ExitCode.OK
