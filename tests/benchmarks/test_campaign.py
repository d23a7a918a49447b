"""A sample of the campaign over torchvision's models: classification, segmentation, detection.

For all models, run ``python -m benchmarks.campaign``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.campaign import OUTLIER, Row, campaign, markdown
from benchmarks.fidelity.truth import FOLDER
from benchmarks.real_gpu import COLUMNS, compare
from memprof.gpus.select import Device
from tests.conftest import torch_is_at_least

SAMPLE = ("resnet18", "lraspp_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn")


@pytest.fixture(scope="module")
def rows(phantom_device_h100: Device) -> Mapping[str, Row]:  # noqa: ARG001  skips without a phantom
    return {row.model: row for row in campaign(SAMPLE)}


@pytest.mark.parametrize("model", SAMPLE)
def test_campaign_model_trains_on_phantom(model: str, rows: Mapping[str, Row]) -> None:
    row = rows[model]
    assert row.failed is None
    weights_gradients_momentum = 3 * 4 * row.phantom["parameters"]
    assert weights_gradients_momentum < row.phantom["requested_bytes"] <= row.phantom["peak_bytes"]


@pytest.mark.parametrize("model", ["resnet18", "lraspp_mobilenet_v3_large"])
def test_campaign_agrees_with_memtracker(model: str, rows: Mapping[str, Row]) -> None:
    difference = rows[model].difference
    assert difference is not None
    assert abs(difference) < OUTLIER


def test_campaign_cublas_workspace_needs_matrix_product(rows: Mapping[str, Row]) -> None:
    # Torch 2.9 and 2.11 also give cuBLASLt 1 MiB.
    assert rows["resnet18"].phantom["cublas_bytes"] == (64 if torch_is_at_least(2, 14) else 65) << 20
    assert rows["lraspp_mobilenet_v3_large"].phantom["cublas_bytes"] == 0


def test_campaign_memtracker_fails_for_detection(rows: Mapping[str, Row]) -> None:
    detecting = rows["fasterrcnn_mobilenet_v3_large_320_fpn"]
    assert detecting.tracker["error"].startswith("DataDependentOutputException")
    assert detecting.difference is None


def test_campaign_crash_is_counted_and_shown(rows: Mapping[str, Row]) -> None:
    crashed = Row(model="broken", phantom={"crash": -11}, tracker={"error": "ValueError: no"})
    page = markdown([*rows.values(), crashed])
    assert "**3 of 4 classification, detection and segmentation models took two training steps; 1 crashed.**" in page
    assert "| broken | - | crashed: -11 | - | - | - | - | - |" in page


def test_gpu_next_to_phantom_is_row_of_fidelity_files(phantom_device_h100: Device) -> None:
    """The same phantom is on both sides, so that nothing differs."""
    environment = phantom_device_h100.environment
    (row,) = compare(environment, environment, ["resnet18"])
    named = dict(zip(COLUMNS, row, strict=True))
    assert (named["family"], named["model"], named["batch_size"]) == ("torchvision, classification", "resnet18", 2)
    for figure in ("requested", "allocated", "reserved"):
        assert named[f"measured_{figure}_bytes"] == named[f"emulated_{figure}_bytes"]
    assert read_header(FOLDER / "nvidia-h200-models.csv") == COLUMNS[:9]


def read_header(file: Path) -> tuple[str, ...]:
    return tuple(file.read_text(encoding="utf-8").splitlines()[0].split(","))
