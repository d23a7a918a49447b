"""`memprof explain`: run one point once and show what its peak consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from memprof.breakdown.explanation import Advice, Explained
from memprof.breakdown.snapshot import check_writable, explain_snapshot
from memprof.cli import next_command, options
from memprof.cli.console import note, print_json, print_next, print_verdict, progress_bar, stdout
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides
from memprof.cli.require import required_source
from memprof.cli.saving import make_manifest, print_place
from memprof.cli.slow_precision import note_slow_precision
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting, load_variant
from memprof.errors import ConfigError, DeviceError, ExitCode, ResultError
from memprof.experiments.advice import find_advice
from memprof.experiments.compare import VariantRuns
from memprof.experiments.explain import explain_point, find_spread
from memprof.experiments.memory_savers import list_memory_savers
from memprof.experiments.session import LocalSession, open_session
from memprof.gpus.select import Device, choose_device, multiplies_bf16
from memprof.records import SCHEMA_VERSION, Source, Status
from memprof.report.documents import explain_document
from memprof.report.terminal.explain import explain_report, peak_report
from memprof.report.verdicts import explain_verdict
from memprof.results import Kind, Result, check_output_folder, load_document, save_document
from memprof.results import load as load_result

EXAMPLES = """\
memprof explain torchvision:resnet50 --batch-size 32
memprof explain configs/vit_b_16.yaml --gpu t4 --depth 3 --snapshot peak.pickle
memprof explain snapshot.pickle"""

_SNAPSHOTS = (".pickle", ".pkl")


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """The options of the command. `depth` of the module tree is ``None`` for a short tree."""

    depth: int | None
    blocks: int
    snapshot: Path | None
    folder: Path
    json: bool
    spread: bool = False
    advice: bool = True
    required: Source | None = None


@takes_model
def command(
    config: options.ConfigOrSnapshot,
    gpu: options.GpuName = None,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    set_: options.Settings = None,
    depth: options.Depth = None,
    blocks: options.Blocks = 10,
    snapshot: options.SnapshotFile = None,
    spread: options.SpreadOption = False,
    no_advice: options.NoAdvice = False,
    require: options.RequiredSource = None,
    output_dir: options.OutputDir = Path("results"),
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Explain the peak of one point, or of a snapshot."""
    chosen = overrides(gpu=gpu, batch_sizes=[batch_size], optimizers=[optimizer], settings=set_, model=model)
    wanted = ExplainOptions(
        depth=depth,
        blocks=blocks,
        snapshot=snapshot,
        folder=output_dir,
        json=json,
        spread=spread,
        advice=not no_advice,
        required=required_source(require),
    )
    explain = run_snapshot if config.suffix in _SNAPSHOTS else run
    return explain(config, chosen, wanted)


def run(config: Path, chosen: Sequence[Override], wanted: ExplainOptions) -> ExitCode:
    """Explain the config's first point, save and print the result; 6 if it failed for another reason than memory."""
    _check(wanted)
    loaded = load(config, chosen)
    device = _gpu(loaded.config.gpu, wanted.required)
    check_output_folder(wanted.folder)
    if wanted.spread and device.source is Source.MEASURED:
        raise ConfigError(
            "--spread needs a simulated GPU, for example --gpu t4: a real GPU has one driver and one timing"
        )
    note(device.explanation)
    note_inferred(loaded, loaded.config.points()[:1])
    note_slow_precision([loaded.config], [device])
    with progress_bar("starting PyTorch", None) as progress, open_session(loaded, device, progress.on_step) as session:
        point = loaded.config.points()[0]
        named = f"{device.name}: batch {point[1]:,}"
        progress.describe(f"{named}, recording the allocator's history")
        explained = explain_point(session, point, wanted.snapshot)
        if wanted.spread:
            progress.describe(f"{named}, running with other addresses and timings")
            explained = replace(explained, spread=find_spread(session, point, explained.record))
        if wanted.advice:
            progress.describe(f"{named}, running changes that may save memory")
            explained = replace(explained, advice=_advice(session, explained, config, chosen))
        manifest = make_manifest(Kind.EXPLAIN, loaded, session.environment, 1)
    try:
        saved = load_result(save_document(wanted.folder, manifest, explained), kinds=(Kind.EXPLAIN,))
    except ResultError:  # the run took time, and a full disk must not lose its answer
        _print_explained(explained, wanted.json, wanted.depth, wanted.blocks)
        raise
    show(saved, wanted.json, wanted.depth, wanted.blocks)
    if wanted.snapshot is not None and wanted.snapshot.is_file() and not wanted.json:
        stdout().print(f"snapshot in {wanted.snapshot}: open it at https://pytorch.org/memory_viz", soft_wrap=True)
    return ExitCode.OK if explained.record.status in (Status.OK, Status.OOM) else ExitCode.FAILED_ROWS


def run_snapshot(file: Path, chosen: Sequence[Override], wanted: ExplainOptions) -> ExitCode:
    """Explain a snapshot that PyTorch wrote: nothing is run, and nothing is saved."""
    if chosen or wanted.snapshot is not None or wanted.spread or wanted.required is not None:
        raise ConfigError(f"{file} is a snapshot: only --blocks and --json can be used with it, since nothing is run")
    _check(wanted)
    explanations = explain_snapshot(file)
    if wanted.json:
        devices = {str(index): asdict(explanation) for index, explanation in explanations.items()}
        print_json({"schema_version": SCHEMA_VERSION, "snapshot": str(file), "devices": devices})
        return ExitCode.OK
    console = stdout()
    for index, explanation in explanations.items():
        title = f"{file.name} · device {index} · {explanation.event_count:,} events"
        console.print(peak_report(explanation, title, None, console.width, most_blocks=wanted.blocks))
    return ExitCode.OK


def show(saved: Result, json: bool, depth: int | None = None, blocks: int = 10) -> None:
    """Print a saved explanation."""
    explained = load_document(saved.path, Explained)
    _print_explained(explained, json, depth, blocks)
    if not json:
        print_place(saved)
        print_next(next_command.after_explain(saved, explained))


def _print_explained(explained: Explained, json: bool, depth: int | None, blocks: int) -> None:
    if json:
        print_json(explain_document(explained))
        return
    console = stdout()
    print_verdict(explain_verdict(explained))
    console.print(explain_report(explained, depth, blocks, console.width))


def _advice(
    session: LocalSession, explained: Explained, config: Path, chosen: Sequence[Override]
) -> tuple[Advice, ...]:
    def config_of(settings: Sequence[Setting]) -> SweepConfig:
        return load_variant(config, chosen, settings, Flag.SAVER).config

    savers = list_memory_savers(config_of(()), multiplies_bf16(session.device))
    return find_advice(VariantRuns(session), config_of, savers, explained.record)


def _gpu(name: str, required: Source | None) -> Device:
    device = choose_device(name, required)
    if device.source is Source.ANALYTIC:
        raise DeviceError(f"explain needs a GPU, real or simulated ({device.explanation}); memprof summary needs none")
    return device


def _check(wanted: ExplainOptions) -> None:
    for option, value, least in (("--depth", wanted.depth, 0), ("--blocks", wanted.blocks, 1)):
        if value is not None and value < least:
            raise ConfigError(f"{option} {value}: must be at least {least}")
    if wanted.snapshot is not None:
        check_writable(wanted.snapshot)
