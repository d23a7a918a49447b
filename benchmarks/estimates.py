"""`python -m benchmarks.estimates`: how far the analytic estimate and MemTracker are from a phantom's peak.

Every torchvision model and every config of configs/hub runs once. Each row is saved in benchmarks/estimates.jsonl as
soon as it is there, and a row of the same versions is not run again, so the command continues where it was stopped. At
the end it writes docs/estimates.md from the rows. With `--model NAME`, which may be repeated, only these run; `--page`
runs nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.campaign import Server, open_server
from benchmarks.json_lines import read_lines, write_lines
from benchmarks.machine import describe_machine
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.environment import worker_environment
from memprof.units import format_bytes, format_percent

GPU = "h100-80gb"
ROWS, PAGE = Path("benchmarks", "estimates.jsonl"), Path("docs", "estimates.md")
HUB = Path("configs", "hub")
_CHILD = "benchmarks.estimates_child"
_KINDS = ("phantom", "estimate", "tracker")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The peaks of one model in bytes; ``None`` if there is none, and `reasons` says why."""

    model: str
    versions: str
    phantom_bytes: int | None = None
    cudnn_bytes: int | None = None  # the workspaces of cuDNN at the phantom's peak; None if not known
    estimate_bytes: int | None = None
    tracker_bytes: int | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The models that it is summarized with."""
        return "hub configs" if self.model.endswith(".yaml") else "torchvision models"

    def error(self, found_bytes: int | None) -> float | None:
        """Return how far a figure is from the phantom's peak, in percent of that."""
        if found_bytes is None or not self.phantom_bytes:
            return None
        return 100.0 * (found_bytes - self.phantom_bytes) / self.phantom_bytes


def run(server: Server, row: Row, kinds: Sequence[str]) -> Row:
    """Return the row with the figures of `kinds` run again."""
    figures: dict[str, int | None] = {}
    reasons = {kind: reason for kind, reason in row.reasons.items() if kind not in kinds}
    for kind in kinds:
        found = server.run(kind, row.model)
        figures[f"{kind}_bytes"] = found.get("peak_bytes")
        if kind == "phantom":
            figures["cudnn_bytes"] = found.get("cudnn_bytes")
        if "peak_bytes" not in found:
            reasons[kind] = str(found.get("error") or f"crashed: {found['crash']}")
    return replace(row, reasons=reasons, **figures)  # type: ignore[arg-type]


def read_rows() -> dict[str, Row]:
    """Return the saved rows by model."""
    rows = [Row(**row) for row in read_lines(ROWS)]
    return {row.model: row for row in rows}


def write_rows(rows: dict[str, Row]) -> None:
    """Replace the saved rows, in the order of their names."""
    write_lines(ROWS, rows)


def campaign(selected: Sequence[str], versions: str, again: Sequence[str]) -> Iterator[Row]:
    """Yield the row of each model that has none of these versions, and of all models if some kinds run `again`."""
    spec, saved = find_gpu(GPU), read_rows()
    environment = {**worker_environment(build_phantom(), spec), "ESTIMATED_GPU": GPU}
    with open_server(environment, _CHILD) as server:
        hub = [str(path) for path in sorted(HUB.glob("*.yaml"))]
        for model in selected or [*server.models, *hub]:
            row = saved.get(model)
            if row is None or row.versions != versions:
                yield run(server, Row(model=model, versions=versions), _KINDS)
            elif again:
                yield run(server, row, again)


def markdown(rows: Sequence[Row], machine: Sequence[str], planned: int) -> str:
    """Return the page: a summary of each group, and a table of all rows."""
    missing = "" if len(rows) == planned else f" **{planned - len(rows)} of {planned} have not run yet.**"
    return "\n".join(
        [
            "# How good the estimate is",
            "",
            f"`python -m benchmarks.estimates` wrote this page. {' '.join(machine)}",
            "",
            "The [analytic estimate](concepts.md#the-analytic-estimate) runs a step on shapes alone. This page "
            f"compares its peak with the peak of the same step on a phantom {GPU}, where PyTorch's allocator counts. "
            "PyTorch's own MemTracker, under fake tensors on the CPU, answers the same question." + missing,
            "",
            "Models of torchvision: batch 2, float32, SGD with momentum, random weights. Configs of `configs/hub`: "
            "their first optimizer and smallest batch. The errors are in percent of the phantom's peak.",
            "",
            "| models | compared with | figures | median error, unsigned | worst error |",
            "| --- | --- | ---: | ---: | ---: |",
            *_summary(rows),
            "",
            "An estimate has no workspaces of cuDNN. MemTracker has neither those nor the workspaces of cuBLAS: 64 MiB "
            "on this GPU, most of its error for small models. Both lack models that select boxes or route tokens by "
            "their values. On the CPU, where MemTracker runs, attention and autocast take other code paths than on a "
            "GPU.",
            "",
            "| model | phantom | cuDNN at the peak | estimate | error | MemTracker | error |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(_line(row) for row in rows),
            "",
            *_reasons(rows),
        ]
    )


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    for group in dict.fromkeys(row.group for row in rows):
        of_group = [row for row in rows if row.group == group]
        for name, key in (("the estimate", "estimate_bytes"), ("MemTracker", "tracker_bytes")):
            errors = {row.model: error for row in of_group if (error := row.error(getattr(row, key))) is not None}
            if not errors:
                continue
            worst = max(errors, key=lambda model: abs(errors[model]))
            typical = format_percent(median(map(abs, errors.values())), signed=False)
            yield (
                f"| {len(of_group)} {group} | {name} | {len(errors)} | {typical} | "
                f"{format_percent(errors[worst])} ({_short(worst)}) |"
            )


def _line(row: Row) -> str:
    found: list[Any] = []
    for size in (row.estimate_bytes, row.tracker_bytes):
        found += [format_bytes(size), format_percent(row.error(size))]
    sizes = (format_bytes(row.phantom_bytes), format_bytes(row.cudnn_bytes))
    return f"| {_short(row.model)} | {' | '.join((*sizes, *found))} |"


def _reasons(rows: Sequence[Row]) -> Iterator[str]:
    """Yield why figures are missing, each reason once."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for kind, reason in row.reasons.items():
            names.setdefault(f"{kind}: {reason}", []).append(_short(row.model))
    if names:
        yield "Why a figure is missing:"
        yield ""
        yield from (f"- {reason} ({', '.join(models)})" for reason, models in names.items())
        yield ""


def _short(model: str) -> str:
    return f"hub/{Path(model).stem}" if model.endswith(".yaml") else model


def main() -> int:
    """Print a line for each model that runs, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help="a model, or the file of a config")
    parser.add_argument("--again", action="append", default=[], choices=_KINDS, help="run this again for saved rows")
    parser.add_argument("--page", action="store_true", help="only write the page from the saved rows")
    options = parser.parse_args()
    machine = describe_machine()
    if not options.page:
        rows = read_rows()
        for row in campaign(options.model, machine[-1], options.again):
            print(_line(row), "; ".join(row.reasons.values()), flush=True)
            rows[row.model] = row
            write_rows(rows)
    rows = read_rows()
    planned = 98 + len(list(HUB.glob("*.yaml")))
    ordered = sorted(rows.values(), key=lambda row: (row.group != "torchvision models", row.model))
    PAGE.write_text(markdown(ordered, machine, planned), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
