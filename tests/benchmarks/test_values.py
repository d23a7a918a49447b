"""The comparison of a record with phantoms that have zeros and values.

For all models, run ``python -m benchmarks.values``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.csv_rows import read_rows, write_rows
from benchmarks.real_gpu import COLUMNS, compare
from benchmarks.values import COLUMNS as SAVED
from benchmarks.values import read_saved, run
from benchmarks.values_page import Row, key_of, markdown
from memprof.gpus.select import Device
from tests.paths import ROOT

REAL: Row = {
    "family": "torchvision, detection",
    "model": "picky",
    "batch_size": "2",
    "measured_allocated_bytes": "1000000",
    "measured_image_sizes": "640x640 736x736",
    "gpu": "NVIDIA H200",
    "versions": "torch 2.11.0",
}
FOUND: Row = {
    **{name: REAL[name] for name in ("family", "model", "batch_size", "gpu", "versions")},
    **{f"zeros_{peak}_bytes": "700000" for peak in ("requested", "allocated", "reserved")},
    **{f"cpu_{peak}_bytes": "1010000" for peak in ("requested", "allocated", "reserved")},
    "operators_computed": "1234",
    "seconds_computing": "5.5",
    "host_peak_bytes": str(3 << 20),
    "image_sizes": "640x640 736x736",
    "error": "",
}
RESNET: Row = {**FOUND, "family": "torchvision, classification", "model": "resnet18", "image_sizes": ""}
RESNET |= {f"cpu_{peak}_bytes": "700000" for peak in ("requested", "allocated", "reserved")}


def test_page_shows_errors_of_models_that_depend_on_values() -> None:
    page = markdown([REAL, {**REAL, **{name: RESNET[name] for name in ("family", "model")}}], [FOUND, RESNET])
    assert "| picky, batch 2 | 1,000,000 B | -30.00 % | +1.00 % | 5.5 | 3.00 MiB | equal |" in page
    assert "| torchvision, classification | 1 | 1 | 1,234 | 6 |" in page
    assert "| resnet18, batch 2" not in page
    assert "Real GPU: NVIDIA H200; torch 2.11.0" in page


@pytest.mark.parametrize(("measured", "shown"), [("", "not recorded"), ("512x512", "**512x512** on the GPU")])
def test_page_says_if_image_sizes_are_not_the_same(measured: str, shown: str) -> None:
    assert shown in markdown([{**REAL, "measured_image_sizes": measured}], [FOUND])


def test_page_counts_models_that_have_not_run() -> None:
    failed = {**FOUND, "error": "RuntimeError: no"}
    assert markdown([REAL], [failed]).startswith("0 of 1 models of the record have run.")


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.csv", SAVED, [FOUND, RESNET])
    assert read_rows(tmp_path / "x.csv") == [FOUND, RESNET]
    assert read_saved(tmp_path / "none.csv") == []


def test_committed_rows_are_equal_with_zeros_and_values() -> None:
    rows = read_rows(ROOT / "docs" / "fidelity" / "nvidia-h200-models-values.csv")
    record = read_rows(ROOT / "docs" / "fidelity" / "nvidia-h200-models.csv")
    others = [row for row in record if not row["family"].endswith("detection")]
    assert sorted(map(key_of, rows)) == sorted(map(key_of, others))
    assert markdown(others, rows).endswith("No peak depends on values.")


def test_record_of_a_session_is_run_with_values(phantom_device_h100: Device, tmp_path: Path) -> None:
    environment, model = phantom_device_h100.environment, "fasterrcnn_mobilenet_v3_large_320_fpn"
    with (tmp_path / "detection.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, *compare(environment, environment, [model])])
    [real] = record = read_rows(tmp_path / "detection.csv")
    assert real["gpu"] == "NVIDIA H100 80GB HBM3"
    assert real["measured_image_sizes"] == "320x320 320x320; 320x320 320x320"
    [row] = run(record, phantom_device_h100, [])
    assert row["zeros_allocated_bytes"] == real["emulated_allocated_bytes"]
    assert int(row["operators_computed"]) > 1000
    assert int(row["cpu_allocated_bytes"]) > 1.2 * int(row["zeros_allocated_bytes"])
    assert list(run(record, phantom_device_h100, [row])) == []  # it is saved
    assert "| equal |" in markdown(record, [row])


def test_record_has_the_sizes_that_a_model_draws(phantom_device_h100: Device) -> None:
    environment = phantom_device_h100.environment
    [row] = compare(environment, environment, ["keypointrcnn_resnet50_fpn"])
    named = dict(zip(COLUMNS, row, strict=True))
    sides = {int(size.split("x")[0]) for size in str(named["measured_image_sizes"]).replace(";", "").split()}
    assert sides <= {640, 672, 704, 736, 768, 800}
    assert len(sides) > 1  # of four images
    assert named["measured_image_sizes"] == named["emulated_image_sizes"]
    assert named["seed"] == 0
