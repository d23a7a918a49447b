"""The comparison that `python -m benchmarks.values` prints: a real GPU, and its phantom with zeros and with values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from memprof.units import format_bytes

PEAKS = ("requested", "allocated", "reserved")
Row = dict[str, str]


class Key(NamedTuple):
    """What a row is about."""

    family: str
    model: str
    batch_size: str


def key_of(row: Mapping[str, str]) -> Key:
    """Return what a row of the record, or one of the phantom's, is about."""
    return Key(row["family"], row["model"], row["batch_size"])


def markdown(record: Sequence[Row], rows: Sequence[Row]) -> str:
    """Return a summary of each family, and a table of the models whose peaks depend on values."""
    found = {key_of(row): row for row in rows if not row["error"]}
    pairs = [(real, found[key_of(real)]) for real in record if key_of(real) in found]
    differing = [(real, row) for real, row in pairs if not _is_equal(row)]
    return "\n".join([*_about(pairs, len(record)), "", *_summary(pairs), "", *_table(differing)])


def _about(pairs: Sequence[tuple[Row, Row]], planned: int) -> Iterator[str]:
    yield f"{len(pairs)} of {planned} models of the record have run."
    for name, at in (("Real GPU", 0), ("Phantom", 1)):
        found = dict.fromkeys((pair[at].get("gpu"), pair[at].get("versions")) for pair in pairs)
        yield from (f"{name}: {gpu or 'not recorded'}; {versions or 'not recorded'}" for gpu, versions in found)


def _summary(pairs: Sequence[tuple[Row, Row]]) -> Iterator[str]:
    yield "| models | points | all peaks equal with zeros and with values | operators that the CPU computed | seconds |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for family in dict.fromkeys(row["family"] for _, row in pairs):
        rows = [row for _, row in pairs if row["family"] == family]
        operators = sum(int(row["operators_computed"]) for row in rows)
        seconds = sum(float(row["seconds_computing"]) for row in rows)
        equal = sum(map(_is_equal, rows))
        yield f"| {family} | {len(rows)} | {equal} | {operators:,} | {seconds:,.0f} |"


def _table(pairs: Sequence[tuple[Row, Row]]) -> Iterator[str]:
    if not pairs:
        yield "No peak depends on values."
        return
    yield "| model | real GPU, allocated | with zeros | with values | seconds | host memory | image sizes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    yield from (_line(real, row) for real, row in pairs)
    errors = [abs(_error(real, row, "cpu")) for real, row in pairs]
    yield ""
    yield f"With values, the median error is {100 * median(errors):.2f} %, the worst {100 * max(errors):.2f} %."


def _line(real: Row, row: Row) -> str:
    errors = (f"{100 * _error(real, row, values):+.2f} %" for values in ("zeros", "cpu"))
    return (
        f"| {row['model']}, batch {row['batch_size']} | {int(real['measured_allocated_bytes']):,} B | "
        f"{' | '.join(errors)} | {row['seconds_computing']} | {format_bytes(int(row['host_peak_bytes']))} | "
        f"{_sizes(real, row)} |"
    )


def _sizes(real: Row, row: Row) -> str:
    """Say whether both sides resized their images alike: their peaks compare only then."""
    measured = real.get("measured_image_sizes")
    if not measured:
        return "not recorded"
    return "equal" if measured == row["image_sizes"] else f"**{measured}** on the GPU, {row['image_sizes']} here"


def _error(real: Row, row: Row, values: str) -> float:
    return int(row[f"{values}_allocated_bytes"]) / int(real["measured_allocated_bytes"]) - 1


def _is_equal(row: Row) -> bool:
    return all(row[f"zeros_{peak}_bytes"] == row[f"cpu_{peak}_bytes"] for peak in PEAKS)
