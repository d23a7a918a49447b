"""Render docs/fidelity.md from the collected figures, with the text of `page.md.j2`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.fidelity.arithmetic import Prediction, Score, error, predicted, score
from benchmarks.fidelity.collect import Collected
from benchmarks.fidelity.limits import LimitedRuns, read_found
from benchmarks.fidelity.real_gpus_section import real_gpus
from benchmarks.fidelity.tables import table
from benchmarks.fidelity.truth import TOOLS, LimitedRun, Run, read_limited
from memprof.experiments.verify import Verification
from memprof.units import MIB, UNKNOWN, format_bytes, format_percent

_FIGURES = {  # of the attention: the name in the published file, and in the program's output
    "max_memory_allocated": "allocated",
    "max_memory_reserved": "reserved",
    "memory_allocated_at_end": "at_the_end",
}


def page(found: Collected, truth: Mapping[str, int], records: Sequence[Verification]) -> str:
    """Return the whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    figures = {**_attention(found, truth), **_workspaces(found), **_runs(found), **_differences(found)}
    others = [stack.label for stack in found.stacks[1:]]
    return environment.get_template("page.md.j2").render(
        machine=found.machine,
        others=others,
        **real_gpus(records),
        **limits(read_limited(), read_found()),
        **figures,
    )


def _attention(found: Collected, truth: Mapping[str, int]) -> Mapping[str, Any]:
    rows = []
    for name, key in _FIGURES.items():
        difference = found.attention[key] - truth[name]
        cell = f"{difference:+,} B" if difference else "none"
        rows.append((f"`{name}`", f"{truth[name]:,}", f"{found.attention[key]:,}", cell))
    peak, estimates = truth["max_memory_allocated"], {}
    for name, estimate in found.attention_estimates.items():
        text = None if estimate is None else f"{estimate:,} B, {format_percent(100 * (estimate / peak - 1))}"
        estimates[name] = text or UNKNOWN
    headings = ("figure", "real GPU, B", "phantom, B", "difference")
    return {"attention": table(headings, rows), "attention_estimates": estimates}


def _workspaces(found: Collected) -> Mapping[str, Any]:
    headings = ("input", "weight", "dtype", "real GPU, B", *(f"phantom, {stack.label}" for stack in found.stacks))
    rows = [
        (
            "x".join(map(str, case.input_shape)),
            "x".join(map(str, case.weight_shape)),
            case.dtype,
            f"{case.workspace_bytes:,}",
            *(_compared(stack.workspaces[place], case.workspace_bytes) for stack in found.stacks),
        )
        for place, case in enumerate(found.convolutions)
    ]
    names = {
        f"convolution_{name}": ", ".join(dict.fromkeys(getattr(case, name) for case in found.convolutions))
        for name in ("gpu", "torch", "cudnn")
    }
    return {"workspaces": table(headings, rows), **names}


def _compared(value: int, truth: int) -> str:
    return f"{value:,}" if value == truth else f"**{value:,}**"


def _runs(found: Collected) -> Mapping[str, Any]:
    tools = predictions_by_tool(found)
    scores = table(("tool", "median error", "mean", "worst", "verdicts right"), list(_scores(found.runs, tools)))
    rows = [_run_row(run, place, tools) for place, run in enumerate(found.runs)]
    return {"scores": scores, "runs": table(("run", "real GPU, MiB", *tools), rows)}


def predictions_by_tool(found: Collected) -> Mapping[str, Sequence[Prediction]]:
    """Return the predictions of each tool, this environment's phantom first, under the names of the tables."""
    phantoms = {f"phantom, {stack.label}": stack.predictions() for stack in found.stacks}
    published = {
        tool: [predicted(run, run.predictions[place]) for run in found.runs] for place, tool in enumerate(TOOLS)
    }
    estimates = {
        tool: [predicted(run, size) for run, size in zip(found.runs, sizes, strict=True)]
        for tool, sizes in found.estimates.items()
    }
    return {**phantoms, **published, **estimates}


def _scores(runs: Sequence[Run], tools: Mapping[str, Sequence[Prediction]]) -> Iterator[tuple[str, ...]]:
    for name, predictions in tools.items():
        if any(prediction.taken_bytes is not None for prediction in predictions):
            yield name, *_score_cells(score(runs, predictions))
        else:
            yield name, *([UNKNOWN] * 4)


def _score_cells(found: Score) -> tuple[str, ...]:
    right = UNKNOWN if found.right_verdicts is None else f"{found.right_verdicts} of {found.verdicts}"
    return *map(_percent, (found.median_error, found.mean_error, found.worst_error)), right


def _run_row(run: Run, place: int, tools: Mapping[str, Sequence[Prediction]]) -> tuple[str, ...]:
    taken = "out of memory" if run.oom else f"{run.taken_bytes / MIB:,.0f}"
    return _run_name(run), taken, *(_cell(run, predictions[place]) for predictions in tools.values())


def _run_name(run: Run) -> str:
    return f"{run.model}, {run.optimizer}, {run.batch_size}, {run.gpu}"


def _cell(run: Run, prediction: Prediction) -> str:
    verdict = {None: UNKNOWN, True: "out of memory", False: "fits"}[prediction.oom]
    if run.oom or prediction.oom:
        return verdict if prediction.oom is run.oom else f"**{verdict}**"
    relative = error(run, prediction)
    return UNKNOWN if relative is None else format_percent(100 * relative)


def _differences(found: Collected) -> Mapping[str, Any]:
    """Return the figures of the section on reasons, for the runs that finished."""
    places = [place for place, run in enumerate(found.runs) if not run.oom]
    allocated = [found.stacks[0].runs[place].allocated_bytes for place in places]
    taken = [found.runs[place].taken_bytes for place in places]
    cache = [above / below - 1 for above, below in zip(taken, allocated, strict=True)]
    return {
        "finished": len(places),
        "within": sum(below <= above for above, below in zip(taken, allocated, strict=True)),
        "cache": f"{_percent(min(cache))} to {_percent(max(cache))}",
        "sets": len(found.stacks),
        "allocated_spread": _percent(max(_spread(found, place, "allocated") for place in places)),
        "reserved_spread": _percent(max(_spread(found, place, "reserved") for place in places)),
        "widest": _widest(found, places),
    }


def limits(programs: Sequence[Sequence[LimitedRun]], found: LimitedRuns) -> Mapping[str, Any]:
    """Return the runs without and with a limit, and how far off the phantom is where a limit did and did not matter."""
    pairs = [
        [(real, phantom.reserved_bytes[real.limit_of]) for real in runs]
        for runs, phantom in zip(programs, found.programs, strict=True)
    ]
    rows = [(_run_name(runs[0][0].run), *(_limit_cell(*pair) for pair in runs)) for runs in pairs]
    free, limited = ([error for runs in pairs for error in _errors(runs, binds)] for binds in (False, True))
    return {
        "limits": table(("run", "no limit", *(f"{tool}'s limit" for tool in TOOLS)), rows),
        "limits_versions": f"torch {found.torch}, cuDNN {found.cudnn}",
        **_error_texts("free", free),
        **_error_texts("limited", limited),
    }


def _errors(runs: Sequence[tuple[LimitedRun, int | None]], binds: bool) -> Iterator[float]:
    """Return the phantom's errors in one program's runs whose limit is (`binds`) or is not below its first peak."""
    first = runs[0][0].taken_bytes
    for real, reserved in runs:
        below = first is not None and real.fraction * real.run.gpu_total_bytes < first
        if real.taken_bytes is not None and reserved is not None and below is binds:
            yield reserved / real.taken_bytes - 1


def _error_texts(name: str, errors: Sequence[float]) -> Mapping[str, str]:
    texts = {"runs": f"{len(errors)}", "median": UNKNOWN, "range": UNKNOWN}
    if errors:
        texts["median"] = _percent(median(map(abs, errors)))
        texts["range"] = f"{format_percent(100 * min(errors))} to {format_percent(100 * max(errors))}"
    return {f"{name}_{key}": text for key, text in texts.items()}


def _limit_cell(real: LimitedRun, reserved_bytes: int | None) -> str:
    if real.oom:
        return "out of memory" if reserved_bytes is None else "out of memory: **fits**"
    if real.taken_bytes is None:
        return UNKNOWN
    error = (
        "**out of memory**" if reserved_bytes is None else format_percent(100 * (reserved_bytes / real.taken_bytes - 1))
    )
    return f"{real.taken_bytes / MIB:,.0f}: {error}"


def _widest(found: Collected, places: Sequence[int]) -> str | None:
    if len(found.stacks) < 2:
        return None
    place = max(places, key=lambda place: _spread(found, place, "reserved"))
    run = found.runs[place]
    figures = ", ".join(f"{format_bytes(stack.runs[place].reserved_bytes)} ({stack.label})" for stack in found.stacks)
    real = format_bytes(run.taken_bytes)
    return f"{run.model} with {run.optimizer} at batch {run.batch_size}: {figures}; the real GPU {real}"


def _spread(found: Collected, place: int, name: str) -> float:
    """Return the highest minus the lowest value over the sets of versions, divided by the lowest."""
    values = [getattr(stack.runs[place], f"{name}_bytes") for stack in found.stacks]
    return float(max(values) / min(values) - 1)


def _percent(share: float) -> str:
    return format_percent(100 * share, signed=False)
