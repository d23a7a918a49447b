"""`memprof sweep`: the main job, from a config file to a results folder and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memprof.cli.console import print_json, progress_bar, stderr, stdout
from memprof.cli.saving import Output, keep_rows, make_manifest, print_place
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.errors import ExitCode
from memprof.experiments.session import open_session
from memprof.experiments.sweep import sweep_records
from memprof.gpus.select import choose_device
from memprof.records import Status
from memprof.report.terminal.sweep import sweep_table
from memprof.results import Kind, Result, to_json


def overrides(
    gpu: str | None, batch_sizes: Sequence[str], optimizers: Sequence[str], settings: Sequence[str]
) -> list[Override]:
    """Return the options of the command line as overrides of the config."""
    pairs = [
        *((Flag.SET, text) for text in settings),
        *((Flag.GPU, text) for text in (gpu,) if text is not None),
        *((Flag.BATCH_SIZE, text) for text in batch_sizes),
        *((Flag.OPTIMIZER, text) for text in optimizers),
    ]
    return [Override(flag=flag, text=text) for flag, text in pairs]


def run(config: Path, chosen: Sequence[Override], output: Output) -> ExitCode:
    """Run the sweep, or what is left of one that was stopped; return the exit status."""
    loaded = load(config, chosen)
    device = choose_device(loaded.config.gpu)
    (stderr() if output.json else stdout()).print(device.explanation, soft_wrap=True)
    points = len(loaded.config.points())
    with progress_bar("starting PyTorch", points) as progress, open_session(loaded, device) as session:
        manifest = make_manifest(Kind.SWEEP, loaded, session.environment, points)
        progress.update(progress.tasks[0].id, description="analytic breakdown")
        folder = keep_rows(
            manifest,
            lambda done: sweep_records(session, [(record.optimizer, record.batch_size) for record in done]),
            output,
            progress,
        )
    show(folder.result(), output.json)
    failed = {record.status for record in folder.records} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def show(saved: Result, json: bool) -> None:
    """Print a saved sweep."""
    if json:
        print_json(to_json(saved.records, saved.manifest.environment))
        return
    console = stdout()
    console.print(sweep_table(saved.records, console.width))
    print_place(saved)
