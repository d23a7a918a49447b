"""`memprof sweep`: from config files to a results folder and a table for each."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from memprof.cli import next_command, options
from memprof.cli.console import note, print_json, print_line, print_next, print_verdict, progress_bar, stdout
from memprof.cli.engine import engine_options
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides
from memprof.cli.require import required_source
from memprof.cli.saving import Output, PlannedRows, keep_rows, make_manifest, print_place
from memprof.cli.slow_precision import note_slow_precision
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Override
from memprof.engines.choose import choose_engine_device
from memprof.engines.options import EngineOptions
from memprof.engines.protocol import Estimate
from memprof.errors import ExitCode
from memprof.experiments.session import Session, open_engine_session
from memprof.experiments.sweep import Sweep, SweepPoint, environment_of, records_of_sweeps, sweep_points
from memprof.records import RunRecord, Source, Status
from memprof.report.terminal.sweep import sweep_table
from memprof.report.verdicts import sweep_verdict
from memprof.results import Kind, Result, RowName, check_output_folder, name_of, to_json

EXAMPLES = """\
memprof sweep timm:vit_small_patch16_224 --gpu l4 --batch-size 64
memprof sweep configs/mnist_mlp.yaml
memprof sweep configs/resnet50.yaml --gpu t4 --batch-size 32 --batch-size 64
memprof sweep configs/resnet50.yaml --optimizer adamw --set precision=amp-bf16
memprof sweep configs/*.yaml --gpu h100-80gb --engine ray"""


@takes_model
def command(
    config: options.ConfigFiles,
    gpu: options.GpuName = None,
    batch_size: options.BatchSizes = None,
    optimizer: options.Optimizers = None,
    set_: options.Settings = None,
    output_dir: options.OutputDir = Path("results"),
    require: options.RequiredSource = None,
    engine: options.Engine = None,
    address: options.Address = None,
    runners: options.Runners = None,
    force: options.StartOver = False,
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Measure each point, next to its analytic estimate."""
    chosen = overrides(gpu=gpu, batch_sizes=batch_size or (), optimizers=optimizer or (), settings=set_, model=model)
    output = Output(folder=output_dir, force=force, json=json)
    return run(config, chosen, output, required_source(require), engine_options(engine, address, runners, output_dir))


def run(
    configs: Sequence[Path],
    chosen: Sequence[Override],
    output: Output,
    required: Source | None,
    where: EngineOptions,
) -> ExitCode:
    """Run the sweeps, or the rest of interrupted ones; return the exit status."""
    saved = run_sweeps([load(config, chosen) for config in configs], output, required, where)
    show_all(saved, output.json)
    return exit_status(saved)


def run_sweeps(
    sweeps: Sequence[LoadedConfig],
    output: Output,
    required: Source | None,
    where: EngineOptions,
    estimate: Estimate = Estimate.REQUIRED,
) -> list[Result]:
    """Measure all points of `sweeps`, or the rest of them, and return what is saved of each."""
    first = sweeps[0]
    device = choose_engine_device(first.config.gpu, required, where)
    check_output_folder(output.folder)
    note(device.explanation)
    for loaded in sweeps:
        note_inferred(loaded, loaded.config.points())
    note_slow_precision([loaded.config for loaded in sweeps], [device])
    points = [sweep_points(loaded.config) for loaded in sweeps]
    count = sum(map(len, points))
    with (
        progress_bar("starting PyTorch", count) as progress,
        open_engine_session(sweeps, device, where, count, note, progress.on_step) as session,
    ):
        planned = [_planned(session, *one) for one in zip(sweeps, points, strict=True)]
        wanted = [Sweep(loaded=one, points=of, estimate=estimate) for one, of in zip(sweeps, points, strict=True)]
        folders = keep_rows(planned, partial(_measure, session, wanted), output, progress, session.engine)
    return [folder.result() for folder in folders]


def exit_status(saved: Sequence[Result]) -> ExitCode:
    """Return whether points failed for another reason than memory."""
    failed = {record.status for result in saved for record in result.records} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def _planned(session: Session, loaded: LoadedConfig, points: Sequence[SweepPoint]) -> PlannedRows:
    manifest = make_manifest(Kind.SWEEP, loaded, environment_of(session, loaded), len(points))
    return PlannedRows(manifest=manifest, labels={point.name: _label(point.name) for point in points}, key_of=name_of)


def _measure(
    session: Session, sweeps: Sequence[Sweep], done: Sequence[Collection[Hashable]]
) -> Iterator[tuple[int, RunRecord]]:
    """Yield the records of the points that are not done, each with the index of its sweep."""
    left = [
        replace(sweep, points=[point for point in sweep.points if point.name not in names])
        for sweep, names in zip(sweeps, done, strict=True)
    ]
    return records_of_sweeps(session, left)


def _label(name: RowName) -> str:
    rank = "" if name.rank is None else f", rank {name.rank:,}"
    return f"{name.optimizer or 'inference'}, batch {name.batch_size:,}{rank}"


def show_all(saved: Sequence[Result], json: bool) -> None:
    """Print one sweep as `show` does, or several one after the other."""
    if json and len(saved) > 1:
        print_json({"sweeps": [to_json(one.records, one.manifest.environment) for one in saved]})
        return
    for place, one in enumerate(saved):
        if place:
            print_line("")
        show(one, json)


def show(saved: Result, json: bool) -> None:
    """Print a saved sweep."""
    if json:
        print_json(to_json(saved.records, saved.manifest.environment))
        return
    console = stdout()
    if saved.records:
        print_verdict(sweep_verdict(saved.records))
    console.print(sweep_table(saved.records, console.width))
    print_place(saved)
    print_next(next_command.after_sweep(saved))
