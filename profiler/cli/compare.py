"""`memprof compare`: what a config's memory becomes when its knobs are turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiler.answers import Answer, State, against_base, optimizer_states
from profiler.cli.console import print_json, progress_bar, stderr, stdout
from profiler.compare import FIGURES
from profiler.errors import ExitCode
from profiler.overrides import Override
from profiler.records import SCHEMA_VERSION, RunRecord, Source, Status
from profiler.report.compare import compare_table
from profiler.results import row
from profiler.variant_runs import open_variant_runs
from profiler.variants import Variant, plan_variants


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is varied and how, whether the largest batch is searched for too, and how the answer is shown."""

    vary: Sequence[str]
    grid: bool
    max_batch: bool
    json: bool


def run(config: Path, chosen: Sequence[Override], wanted: Wanted) -> ExitCode:
    """Measure the base and its variants and print the table; return the exit status."""
    variants = plan_variants(config, chosen, wanted.vary, wanted.grid)
    answers = []
    with progress_bar("starting PyTorch", len(variants)) as progress, open_variant_runs(variants[0].loaded) as runs:
        (stderr() if wanted.json else stdout()).print(runs.device.explanation, soft_wrap=True)
        records = runs.records([variant.loaded.config for variant in variants])
        search = runs.device.source is not Source.ANALYTIC and wanted.max_batch
        for variant, record in zip(variants, list(records) if search else records, strict=True):
            largest = runs.largest_batch_size(variant.loaded.config) if search else None
            answers.append(_answer(variant, record, wanted.grid, largest))
            progress.update(progress.tasks[0].id, description=variant.label, advance=1)
    states = optimizer_states(answers, [variant.loaded.config for variant in variants])
    if wanted.json:
        print_json(_json(variants, answers, states))
    else:
        console = stdout()
        console.print(compare_table(answers, states, console.width))
    failed = {answer.record.status for answer in answers} - {Status.OK, Status.OOM}
    return ExitCode.FAILED_ROWS if failed else ExitCode.OK


def _answer(variant: Variant, record: RunRecord, grid: bool, largest: int | None) -> Answer:
    settings = {setting.key: setting.shown for setting in variant.settings}
    group, name = _place(variant, settings, grid)
    return Answer(group=group, name=name, settings=settings, record=record, largest_batch_size=largest)


def _place(variant: Variant, settings: dict[str, str], grid: bool) -> tuple[str, str]:
    """Return the section and the name of a variant's row: the knob and its value, in a grid the last knob's."""
    *before, last = (f"{key}={value}" for key, value in settings.items())
    if len(settings) == 1:
        ((key, value),) = settings.items()
        return key, value if variant.changed else f"{value} (base)"
    if grid:
        return ", ".join(before), last if variant.changed else f"{last} (base)"
    if not variant.changed:
        return f"base: {', '.join(f'{key}={value}' for key, value in settings.items())}", "base"
    return variant.changed[0].key, variant.changed[0].shown


def _json(variants: Sequence[Variant], answers: Sequence[Answer], states: Sequence[State]) -> dict[str, Any]:
    rows = [
        {
            "variant": variant.label,
            "settings": dict(answer.settings),
            **row(answer.record),
            "change": {
                figure: {"bytes": pair.change(figure).bytes, "percent": pair.change(figure).percent}
                for figure in FIGURES
            },
            "largest_batch_size": answer.largest_batch_size,
        }
        for variant, answer, pair in zip(variants, answers, against_base(answers), strict=True)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": asdict(answers[0].record.environment),
        "base": variants[0].loaded.config.model_dump(mode="json"),
        "rows": rows,
        "optimizer_states": [{**asdict(state), "factor": state.factor} for state in states],
    }
