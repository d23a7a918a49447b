"""`memprof compare`: compare settings of a config and show how each changes memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from memprof.cli import options
from memprof.cli.console import note, print_json, progress_bar, stdout
from memprof.cli.overriding import overrides
from memprof.cli.require import required_source
from memprof.cli.saving import Output, keep_rows, make_manifest, model_source, print_place
from memprof.config.overrides import Override
from memprof.config.variants import Variant, plan_variants
from memprof.errors import ExitCode
from memprof.experiments.compare import VariantRuns
from memprof.experiments.session import open_session
from memprof.gpus.select import choose_device
from memprof.records import SCHEMA_VERSION, Environment, RunRecord, Source, Status
from memprof.report.terminal.compare import compare_table
from memprof.results import Kind, Manifest, Result, VariantPlan, check_output_folder, fingerprint, row
from memprof.results.comparison import OptimizerState, VariantResult, against_base, optimizer_states, saved_variants
from memprof.results.diff import FIGURES

EXAMPLES = """\
memprof compare configs/mnist_mlp.yaml --vary optimizer=sgd,adam
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


def command(
    config: options.ConfigFile,
    vary: options.Vary = None,
    grid: options.Grid = False,
    batch_size: options.BatchSize = None,
    gpu: options.GpuName = None,
    set_: options.Settings = None,
    max_batch: options.FindMaxBatch = False,
    require: options.RequiredSource = None,
    output_dir: options.OutputDir = Path("results"),
    force: options.StartOver = False,
    json: options.Json = False,
) -> int:
    """Compare settings."""
    wanted = CompareOptions(vary=vary or [], grid=grid, max_batch=max_batch, required=required_source(require))
    chosen = overrides(gpu=gpu, batch_sizes=[batch_size], settings=set_)
    return run(config, chosen, wanted, Output(folder=output_dir, force=force, json=json))


def run(config: Path, chosen: Sequence[Override], wanted: CompareOptions, output: Output) -> ExitCode:
    """Measure the base and its variants, or the rest of them, and print the table; return the exit status."""
    variants = plan_variants(config, chosen, wanted.vary, wanted.grid)
    base = variants[0].loaded
    device = choose_device(base.config.gpu, wanted.required)
    check_output_folder(output.folder)
    note(device.explanation, json=output.json)
    with progress_bar("starting PyTorch", len(variants)) as progress, open_session(base, device) as session:
        runs = VariantRuns(session)
        manifest = _manifest(variants, session.environment, wanted)
        folder = keep_rows(
            manifest, lambda done: _records(runs, variants[len(done) :], wanted.max_batch), output, progress
        )
    show(folder.result(), output.json)
    failed = {record.status for record in folder.records} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def show(saved: Result, json: bool) -> None:
    """Print a saved comparison, finished or not."""
    answers = saved_variants(saved)
    states = optimizer_states(answers)
    if json:
        print_json(_json(saved.manifest, answers, states))
        return
    console = stdout()
    console.print(compare_table(answers, states, console.width))
    print_place(saved)


def _records(runs: VariantRuns, variants: Sequence[Variant], max_batch: bool) -> Iterator[RunRecord]:
    """Yield the record of each variant; if its largest batch is found too, one variant at a time."""
    if runs.device.source is Source.ANALYTIC or not max_batch:
        records = runs.records([variant.loaded.config for variant in variants])
        yield from (replace(record, variant=v.label) for v, record in zip(variants, records, strict=True))
        return
    for variant in variants:
        (record,) = runs.records([variant.loaded.config])
        largest = runs.largest_batch_size(variant.loaded.config)
        yield replace(record, variant=variant.label, largest_batch_size=largest)


def _manifest(variants: Sequence[Variant], environment: Environment, wanted: CompareOptions) -> Manifest:
    plans = tuple(_plan(variant, wanted.grid) for variant in variants)
    asked = {"variants": [asdict(plan) for plan in plans], "max_batch": wanted.max_batch}
    sources = "".join(model_source(variant.loaded) for variant in variants)
    manifest = make_manifest(Kind.COMPARE, variants[0].loaded, environment, len(variants))
    return replace(manifest, variants=plans, fingerprint=fingerprint(asked, environment, sources))


def _plan(variant: Variant, grid: bool) -> VariantPlan:
    settings = {setting.key: setting.shown for setting in variant.settings}
    group, name = _place(variant, settings, grid)
    config = variant.loaded.config.model_dump(mode="json")
    return VariantPlan(label=variant.label, group=group, name=name, settings=settings, config=config)


def _place(variant: Variant, settings: dict[str, str], grid: bool) -> tuple[str, str]:
    """Return the section and the name of a variant's row: the setting and its value, in a grid the last setting's."""
    *before, last = (f"{key}={value}" for key, value in settings.items())
    if len(settings) == 1:
        ((key, value),) = settings.items()
        return key, value if variant.changed else f"{value} (base)"
    if grid:
        return ", ".join(before), last if variant.changed else f"{last} (base)"
    if not variant.changed:
        return f"base: {', '.join(f'{key}={value}' for key, value in settings.items())}", "base"
    return variant.changed[0].key, variant.changed[0].shown


def _json(manifest: Manifest, answers: Sequence[VariantResult], states: Sequence[OptimizerState]) -> dict[str, Any]:
    rows = [
        {
            "variant": answer.record.variant,
            "settings": dict(answer.settings),
            **row(answer.record),
            "change": {
                figure: {"bytes": pair.change(figure).bytes, "percent": pair.change(figure).percent}
                for figure in FIGURES
            },
        }
        for answer, pair in zip(answers, against_base(answers), strict=True)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": asdict(manifest.environment),
        "base": manifest.config,
        "rows": rows,
        "optimizer_states": [{**asdict(state), "factor": state.factor} for state in states],
    }
