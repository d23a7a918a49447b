"""`memprof sweep`: from a config file to a results folder and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memprof.cli import next_command, options
from memprof.cli.console import note, print_json, print_next, print_verdict, progress_bar, stdout
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides
from memprof.cli.require import required_source
from memprof.cli.saving import Output, keep_rows, make_manifest, print_place
from memprof.cli.slow_precision import note_slow_precision
from memprof.config.load import load
from memprof.config.overrides import Override
from memprof.errors import ExitCode
from memprof.experiments.session import open_session
from memprof.experiments.sweep import sweep_points, sweep_records
from memprof.gpus.select import choose_device
from memprof.records import Source, Status
from memprof.report.terminal.sweep import sweep_table
from memprof.report.verdicts import sweep_verdict
from memprof.results import Kind, Result, RowName, check_output_folder, name_of, to_json

EXAMPLES = """\
memprof sweep timm:vit_small_patch16_224 --gpu l4 --batch-size 64
memprof sweep configs/mnist_mlp.yaml
memprof sweep configs/resnet50.yaml --gpu t4 --batch-size 32 --batch-size 64
memprof sweep configs/resnet50.yaml --optimizer adamw --set precision=amp-bf16"""


@takes_model
def command(
    config: options.ConfigFile,
    gpu: options.GpuName = None,
    batch_size: options.BatchSizes = None,
    optimizer: options.Optimizers = None,
    set_: options.Settings = None,
    output_dir: options.OutputDir = Path("results"),
    require: options.RequiredSource = None,
    force: options.StartOver = False,
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Measure each point, next to its analytic estimate."""
    chosen = overrides(gpu=gpu, batch_sizes=batch_size or (), optimizers=optimizer or (), settings=set_, model=model)
    output = Output(folder=output_dir, force=force, json=json)
    return run(config, chosen, output, required_source(require))


def run(config: Path, chosen: Sequence[Override], output: Output, required: Source | None = None) -> ExitCode:
    """Run the sweep, or the rest of an interrupted one; return the exit status."""
    loaded = load(config, chosen)
    device = choose_device(loaded.config.gpu, required)
    check_output_folder(output.folder)
    note(device.explanation)
    note_inferred(loaded, loaded.config.points())
    note_slow_precision([loaded.config], [device])
    names = [point.name for point in sweep_points(loaded.config)]
    with (
        progress_bar("starting PyTorch", len(names)) as progress,
        open_session(loaded, device, progress.on_step) as session,
    ):
        manifest = make_manifest(Kind.SWEEP, loaded, session.environment, len(names))
        progress.describe("analytic estimate")
        folder = keep_rows(
            manifest,
            lambda done: sweep_records(session, [name_of(record) for record in done]),
            output,
            progress,
            [_label(name) for name in names],
        )
    show(folder.result(), output.json)
    failed = {record.status for record in folder.records} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def _label(name: RowName) -> str:
    rank = "" if name.rank is None else f", rank {name.rank:,}"
    return f"{name.optimizer or 'inference'}, batch {name.batch_size:,}{rank}"


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
