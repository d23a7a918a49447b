"""A sample of the comparison between estimates and phantoms; for all models, run ``python -m benchmarks.estimates``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import estimates
from benchmarks.campaign import open_server
from benchmarks.estimates import Row, markdown, run
from memprof.gpus.select import Device
from tests.paths import CONFIGS

ROW = Row(model="resnet18", versions="v", phantom_bytes=1_000, estimate_bytes=980, tracker_bytes=700, cudnn_bytes=20)


@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", str(CONFIGS / "mnist_mlp.yaml")])
def test_estimate_of_a_sample_is_near_the_phantom(model: str, phantom_device_h100: Device) -> None:
    environment = {**phantom_device_h100.environment, "ESTIMATED_GPU": phantom_device_h100.name}
    with open_server(environment, "benchmarks.estimates_child") as server:
        row = run(server, Row(model=model, versions=""), ("phantom", "estimate", "tracker"))
    assert row.reasons == {}
    error, tracked = row.error(row.estimate_bytes), row.error(row.tracker_bytes)
    assert error is not None
    assert tracked is not None
    workspaces = row.error((row.phantom_bytes or 0) + (row.cudnn_bytes or 0))  # the estimate has none of cuDNN
    assert workspaces is not None
    assert abs(error + workspaces) < 2
    assert tracked < error  # it has no workspaces of cuBLAS


def test_page_has_median_and_worst_of_each_group() -> None:
    worse = replace(ROW, model="vgg11", estimate_bytes=900)
    config = replace(ROW, model="configs/hub/gpt2.yaml", tracker_bytes=None, reasons={"tracker": "needs values"})
    page = markdown([ROW, worse, config], ["a machine"], planned=4)
    assert "| 2 torchvision models | the estimate | 2 | 6.0 % | -10.0 % (vgg11) |" in page
    assert "| 2 torchvision models | MemTracker | 2 | 30.0 % | -30.0 % (resnet18) |" in page
    assert "| 1 hub configs | the estimate | 1 | 2.0 % | -2.0 % (hub/gpt2) |" in page
    assert "- tracker: needs values (hub/gpt2)" in page
    assert "**1 of 4 have not run yet.**" in page


def test_page_of_all_models_has_no_missing_ones() -> None:
    assert "not run yet" not in markdown([ROW], ["a machine"], planned=1)


def test_rows_are_read_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "ROWS", tmp_path / "rows.jsonl")
    assert estimates.read_rows() == {}
    estimates.write_rows({row.model: row for row in (ROW, replace(ROW, model="alexnet"))})
    assert list(estimates.read_rows().values()) == [replace(ROW, model="alexnet"), ROW]
