"""`memprof sweep`: the main job, from a config file to a results folder and a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from profiler.cli.console import print_json, progress_bar, stderr, stdout
from profiler.config_file import LoadedConfig, load
from profiler.device import choose_device
from profiler.errors import ExitCode
from profiler.overrides import Flag, Override
from profiler.records import Environment, RunRecord, Status
from profiler.report.terminal import sweep_table
from profiler.results import Manifest, ResultFolder, find_unfinished, fingerprint, to_json
from profiler.sweep_runs import Sweep, open_sweep
from profiler.workload.names import own_model


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a sweep's results go and how they are shown."""

    folder: Path
    force: bool
    json: bool


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
    with progress_bar("starting PyTorch", points) as progress, open_sweep(loaded, device) as sweep:
        folder = _measure(sweep, loaded, output, progress)
    _print(folder, sweep.environment, output)
    failed = {record.status for record in folder.records} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def _measure(sweep: Sweep, loaded: LoadedConfig, output: Output, progress: Progress) -> ResultFolder:
    manifest = _manifest(loaded, sweep.environment)
    folder = None if output.force else find_unfinished(output.folder, manifest.name, manifest.fingerprint)
    done = [(record.optimizer, record.batch_size) for record in folder.records] if folder else []
    if done:
        progress.console.print(f"going on with {folder.path if folder else ''}: {len(done)} points are there")
    task = progress.tasks[0].id
    progress.update(task, description="analytic breakdown", completed=len(done))
    try:
        for record in sweep.records(done):
            folder = folder or ResultFolder.create(output.folder, manifest)
            folder.append(record)
            progress.update(task, description=_name(record), advance=1)
    except KeyboardInterrupt:
        if folder and folder.records:
            kept = f"{len(folder.records)} points are kept in {folder.path}; the same command goes on from there"
            progress.console.print(kept, soft_wrap=True)
        raise
    finally:
        if folder:
            folder.close()
    folder = folder or ResultFolder.create(output.folder, manifest)
    folder.finish()
    return folder


def _manifest(loaded: LoadedConfig, environment: Environment) -> Manifest:
    config = loaded.config.model_dump(mode="json")
    own = own_model(loaded.config.model.name)
    source = (loaded.folder / own.file).read_text(encoding="utf-8", errors="replace") if own else ""
    return Manifest(
        name=loaded.config.name,
        fingerprint=fingerprint(config, environment, source),
        config=config,
        environment=environment,
        command=("memprof", *sys.argv[1:]),
        points_planned=len(loaded.config.points()),
    )


def _name(record: RunRecord) -> str:
    return f"{record.optimizer or record.mode}, batch {record.batch_size}"


def _print(folder: ResultFolder, environment: Environment, output: Output) -> None:
    if output.json:
        print_json(to_json(folder.records, environment))
        return
    console = stdout()
    console.print(sweep_table(folder.records, console.width))
    console.print(f"saved in {folder.path}", soft_wrap=True)
