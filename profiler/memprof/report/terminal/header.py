"""The lines above and below a table: what ran on which GPU, and where the figures come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.text import Text

from memprof.config.parallel import rank_names
from memprof.records import RunRecord
from memprof.report.labels import gpu_label, source_note
from memprof.report.value_notes import value_notes
from memprof.units import format_bytes

T = TypeVar("T")


def title_lines(records: Sequence[RunRecord]) -> list[Text]:
    """Return two lines with what all records have in common: model, GPU and source; then the circumstances.

    Each row, or a line of its own, names what differs among them.
    """
    gpu, total = (
        _shared(records, lambda r: r.environment.gpu),
        _shared(records, lambda r: r.environment.gpu_total_bytes),
    )
    source, torch = _shared(records, lambda r: r.source.value), _shared(records, lambda r: r.environment.torch_version)
    cudnn = _shared(records, lambda r: r.environment.cudnn_version)
    named = (_shared(records, lambda r: r.model), gpu_label(gpu, source) if gpu else None, source)
    circumstances = (
        _shared(records, lambda r: r.precision),
        _shared(records, lambda r: r.mode),
        _ranks(records),
        f"{format_bytes(total)} of memory" if total else None,
        f"torch {torch}" if torch else None,
        f"cuDNN {cudnn}" if cudnn else None,
        _shared(records, lambda r: r.environment.allocator_settings),
    )
    return [Text(_joined(named), "bold"), Text(_joined(circumstances), "dim")]


def source_lines(records: Sequence[RunRecord]) -> list[Text]:
    """Return a line for each source of the records, and one each for unknown workspaces and for values."""
    unknown = sum(record.reading is not None and not record.reading.workspace_known for record in records)
    lines = [Text(source_note(source), "dim") for source in dict.fromkeys(record.source for record in records)]
    if unknown:
        rows = f"{unknown:,} of {len(records):,} rows"
        lines.append(Text(f"workspace unknown in {rows}: cuDNN did not report it; the true peak may be higher."))
    return [*lines, *map(Text, value_notes(records))]


def _ranks(records: Sequence[RunRecord]) -> str | None:
    """Return the ranks that ran, if all rows have the same mesh."""
    mesh = _shared(records, lambda record: (record.world_size, record.mesh))
    ranks = sorted({record.rank for record in records if record.rank is not None})
    return None if mesh is None or not ranks else f"{rank_names(ranks)} of {mesh[0]:,}, {mesh[1]}"


def _shared(records: Sequence[RunRecord], value: Callable[[RunRecord], T]) -> T | None:
    values = {value(record) for record in records}
    return values.pop() if len(values) == 1 else None


def _joined(parts: Sequence[str | None]) -> str:
    return " · ".join(part for part in parts if part)
