"""`python -m benchmarks.values [FILE]`: the models of a record on a phantom, with zeros and with `values: cpu`.

FILE is docs/fidelity/nvidia-h200-models.csv, or another record with its columns, such as detection.csv of a session
with a GPU. It needs no GPU. Each row is saved next to FILE, in a file with "-values" in its name, as soon as it is
there. A row of the same versions is not run again, so the command continues where it was stopped. At the end it prints
a comparison with the record. `--family` (the end of a family's name) and `--model`, which may be repeated, select rows;
`--page` runs nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.campaign import Figures, Server, open_server
from benchmarks.csv_rows import read_rows, write_rows
from benchmarks.fidelity.programs import LOOP, config_of
from benchmarks.values_page import PEAKS, Row, key_of, markdown
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.worker.client import WorkerClient

RECORD = Path("docs", "fidelity", "nvidia-h200-models.csv")
COLUMNS = (
    "family", "model", "batch_size", "gpu", "versions",
    *(f"{values}_{peak}_bytes" for peak in PEAKS for values in ("zeros", "cpu")),
    "operators_computed", "seconds_computing", "host_peak_bytes", "image_sizes", "error",
)  # fmt: skip
_GPU = "h200"  # of a record that does not name its GPU
_TORCHVISION = "torchvision"


def read_saved(file: Path) -> list[Row]:
    """Return the rows that were saved; none if there is no file yet."""
    return read_rows(file) if file.exists() else []


def run(record: Sequence[Row], device: Device, saved: Sequence[Row]) -> Iterator[Row]:
    """Yield a new row for each row of the record that has none of these versions in `saved`."""
    known = {(key_of(row), row["versions"]) for row in saved if not row["error"]}
    with open_server(device.environment) as server:
        about = server.run("about", "gpu")
        for row in record:
            package = row["family"].split(",")[0]
            more = "" if package == _TORCHVISION else f", {package} {version(package)}"
            versions = about["versions"] + more
            if (key_of(row), versions) in known:
                continue
            sides = _run_model(row, server) if package == _TORCHVISION else _run_config(row, device)
            yield {**key_of(row)._asdict(), "gpu": about["gpu"], "versions": versions, **_figures(*sides)}


def _run_model(row: Row, server: Server) -> tuple[Figures, Figures]:
    return server.run("step", row["model"]), server.run("values", row["model"])


def _run_config(row: Row, device: Device) -> tuple[Figures, Figures]:
    return _run_point(row, device, "zeros"), _run_point(row, device, "cpu")


def _run_point(row: Row, device: Device, values: str) -> Figures:
    """Return the figures of one point of a config, as `memprof sweep` runs it, with the loop of the record."""
    settings = [
        Override(flag=Flag.BATCH_SIZE, text=row["batch_size"]),
        Override(flag=Flag.VALUES, text=values),
        *(Override(flag=Flag.SET, text=f"{key}={value}") for key, value in LOOP.items()),
    ]
    loaded = load(config_of(row["model"]), settings)
    [point] = loaded.config.points()
    with WorkerClient(loaded, device) as client:
        [outcome] = client.outcomes([point], jobs=1)
    reading = outcome.reading
    if reading is None or outcome.error:
        return {"error": outcome.error or outcome.status.value}
    found: dict[str, Any] = {
        "requested_bytes": reading.peak_requested_bytes,
        "peak_bytes": reading.peak_allocated_bytes,
        "reserved_bytes": reading.peak_reserved_bytes,
    }
    if reading.host_values is not None:
        found["values_operators"] = reading.host_values.operators_run
        found["values_seconds"] = reading.host_values.seconds
        found["values_bytes"] = reading.host_values.peak_bytes
    return found


def _figures(zeros: Figures, cpu: Figures) -> Row:
    """Return the columns of two runs of one model."""
    failed = next((side for side in (zeros, cpu) if "peak_bytes" not in side), None)
    if failed is not None:
        return {"error": str(failed.get("error") or f"crashed: {failed['crash']}")}
    found: Row = {}
    for peak, name in zip(PEAKS, ("requested_bytes", "peak_bytes", "reserved_bytes"), strict=True):
        found |= {f"zeros_{peak}_bytes": str(zeros[name]), f"cpu_{peak}_bytes": str(cpu[name])}
    return {
        **found,
        "operators_computed": str(cpu["values_operators"]),
        "seconds_computing": f"{cpu['values_seconds']:.1f}",
        "host_peak_bytes": str(cpu["values_bytes"]),
        "image_sizes": str(cpu.get("image_sizes", "")),
        "error": "",
    }


def main() -> int:
    """Print a line for each model that runs, and the comparison; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.values", description=__doc__)
    parser.add_argument("record", nargs="?", default=RECORD, type=Path, metavar="FILE")
    parser.add_argument("--gpu", metavar="NAME", help="the phantom, if it is not that of the record's GPU")
    parser.add_argument("--family", action="append", default=[], metavar="NAME")
    parser.add_argument("--model", action="append", default=[], metavar="NAME")
    parser.add_argument("--output", type=Path, metavar="FILE")
    parser.add_argument("--page", action="store_true", help="only print the comparison of the saved rows")
    options = parser.parse_args()
    record = [row for row in read_saved(options.record) if _is_selected(row, options.family, options.model)]
    if not record:
        print(f"values: {options.record} has no such rows", file=sys.stderr)
        return 2
    output = options.output or options.record.with_name(f"{options.record.stem}-values.csv")
    rows = {key_of(row): row for row in read_saved(output)}
    if not options.page:
        device = phantom_device(find_gpu(options.gpu or record[0].get("gpu") or _GPU))
        for row in run(record, device, list(rows.values())):
            rows[key_of(row)] = row
            write_rows(output, COLUMNS, list(rows.values()))
            print(f"{row['model']}, batch {row['batch_size']}: {row['error'] or 'done'}", file=sys.stderr, flush=True)
    print(markdown(record, list(rows.values())))
    return 1 if any(row["error"] for row in rows.values()) else 0


def _is_selected(row: Row, families: Sequence[str], models: Sequence[str]) -> bool:
    in_family = not families or row["family"].endswith(tuple(families))
    return in_family and (not models or row["model"] in models)


if __name__ == "__main__":
    raise SystemExit(main())
