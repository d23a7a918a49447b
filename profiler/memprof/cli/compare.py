"""`memprof compare`: compare settings of a config and show how each changes memory."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from memprof.cli import next_command, options
from memprof.cli.console import note, print_json, print_next, print_verdict, progress_bar, stdout
from memprof.cli.engine import engine_options
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides
from memprof.cli.require import required_source
from memprof.cli.saving import Output, PlannedRows, keep_rows, make_manifest, model_source, print_place
from memprof.cli.slow_precision import note_slow_precision
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.variants import Variant, plan_variants
from memprof.engines.choose import choose_engine_device
from memprof.engines.options import EngineKind, EngineOptions
from memprof.errors import ConfigError, ExitCode
from memprof.experiments.compare import VariantRuns, default_batch_size, variant_records
from memprof.experiments.session import open_engine_session
from memprof.records import Environment, RunRecord, Source, Status
from memprof.report.documents import compare_document
from memprof.report.terminal.compare import compare_table
from memprof.report.verdicts import compare_verdict
from memprof.results import Kind, Manifest, Result, check_output_folder, fingerprint
from memprof.results.comparison import optimizer_states, plan_row, saved_variants

EXAMPLES = """\
memprof compare torchvision:resnet18 --vary optimizer=sgd,adam
memprof compare configs/resnet50.yaml --vary precision=fp32,amp-bf16 --max-batch
memprof compare configs/vit_b_16.yaml --vary gpu=t4,a10 --vary batch_size=8,16 --grid"""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of the command: what is varied and how, and whether each variant's largest batch is found too.

    `required` is the only source that the rows may have.
    """

    vary: Sequence[str]
    grid: bool
    max_batch: bool
    required: Source | None = None


@takes_model
def command(
    config: options.ConfigFile,
    vary: options.Vary = None,
    grid: options.Grid = False,
    batch_size: options.ComparedBatchSize = None,
    gpu: options.GpuName = None,
    set_: options.Settings = None,
    max_batch: options.FindMaxBatch = False,
    require: options.RequiredSource = None,
    engine: options.Engine = None,
    address: options.Address = None,
    runners: options.Runners = None,
    output_dir: options.OutputDir = Path("results"),
    force: options.StartOver = False,
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Compare settings."""
    wanted = CompareOptions(vary=vary or [], grid=grid, max_batch=max_batch, required=required_source(require))
    chosen = overrides(gpu=gpu, batch_sizes=[batch_size], settings=set_, model=model)
    if max_batch and engine == EngineKind.SLURM:
        raise ConfigError("--max-batch tries one batch after another, and a job would wait for each; use --engine ray")
    where = engine_options(engine, address, runners, output_dir)
    return run(config, chosen, wanted, Output(folder=output_dir, force=force, json=json), where)


def run(
    config: Path, chosen: Sequence[Override], wanted: CompareOptions, output: Output, where: EngineOptions
) -> ExitCode:
    """Measure the base and its variants, or the rest of them, and print the table; return the exit status."""
    variants = plan_variants(config, chosen, wanted.vary, wanted.grid)
    base = variants[0].loaded
    device = choose_engine_device(base.config.gpu, wanted.required, where)
    check_output_folder(output.folder)
    note(device.explanation)
    note_inferred(load(config, chosen), base.config.points())
    configs = [variant.loaded for variant in variants]
    note_slow_precision([loaded.config for loaded in configs], [device])
    with (
        progress_bar("starting PyTorch", len(variants)) as progress,
        open_engine_session(configs, device, where, len(variants), note, progress.on_step) as session,
    ):
        runs = VariantRuns(session)
        if not _names_batch_size(chosen, wanted.vary):
            size = default_batch_size(session, load(config, chosen).config)
            note(f"batch {size:,}: the largest of the config that fits; --batch-size chooses another")
            sized = (*chosen, Override(flag=Flag.BATCH_SIZE, text=str(size)))
            variants = plan_variants(config, sized, wanted.vary, wanted.grid)
        manifest = _manifest(variants, session.environment, wanted)
        (folder,) = keep_rows(
            [PlannedRows(manifest=manifest, labels={v.label: v.label for v in variants}, key_of=_label)],
            partial(_measure, runs, variants, wanted.max_batch),
            output,
            progress,
            session.engine,
        )
    show(folder.result(), output.json)
    failed = {record.status for record in folder.records} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def _label(record: RunRecord) -> str | None:
    return record.variant


def _measure(
    runs: VariantRuns, variants: Sequence[Variant], max_batch: bool, done: Sequence[Collection[Hashable]]
) -> Iterator[tuple[int, RunRecord]]:
    """Yield the records of the variants that are not done, for the one folder of the comparison."""
    left = [variant for variant in variants if variant.label not in done[0]]
    return ((0, record) for record in variant_records(runs, left, max_batch))


def _names_batch_size(chosen: Sequence[Override], vary: Sequence[str]) -> bool:
    """Whether an option chooses the batch size: then it is not the default one."""
    settings = [*(item.text for item in chosen if item.flag is Flag.SET), *vary]
    keys = {text.partition("=")[0].strip() for text in settings}
    return bool(keys & {"batch_size", "batch_sizes"}) or any(item.flag is Flag.BATCH_SIZE for item in chosen)


def show(saved: Result, json: bool) -> None:
    """Print a saved comparison, finished or not."""
    answers = saved_variants(saved)
    if json:
        print_json(compare_document(saved.manifest.config, saved.manifest.environment, answers))
        return
    console = stdout()
    if answers:
        print_verdict(compare_verdict(answers))
    console.print(compare_table(answers, optimizer_states(answers), console.width))
    print_place(saved)
    print_next(next_command.after_compare(saved, answers))


def _manifest(variants: Sequence[Variant], environment: Environment, wanted: CompareOptions) -> Manifest:
    plans = tuple(plan_row(variant, wanted.grid) for variant in variants)
    asked = {"variants": [asdict(plan) for plan in plans], "max_batch": wanted.max_batch}
    sources = "".join(model_source(variant.loaded) for variant in variants)
    manifest = make_manifest(Kind.COMPARE, variants[0].loaded, environment, len(variants))
    return replace(manifest, variants=plans, fingerprint=fingerprint(asked, environment, sources))
