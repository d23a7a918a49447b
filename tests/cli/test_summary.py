"""`memprof summary` as a user calls it: no GPU of any kind, the figures of the breakdown, one line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from tests.cli.conftest import Memprof

RESNET = "configs/resnet18.yaml"
NO_PHANTOM = {"CC": "/nowhere", "MEMPROF_CACHE_DIR": "/proc/nowhere", "CUDA_VISIBLE_DEVICES": ""}


def test_summary_without_any_gpu_shows_the_tree(memprof: Memprof) -> None:
    ended = memprof("summary", "configs/mnist_mlp.yaml", "--batch-size", "64", **NO_PHANTOM)
    assert (ended.returncode, ended.stderr) == (ExitCode.OK, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("101,770 parameters; one step at batch 64 with sgd takes about ")
    assert lines[1].rstrip() == "mnist_mlp · sgd · batch 64 · analytic"
    assert [line.split()[:3] for line in lines if "Linear" in line][:2] == [
        ["├─", "1:", "Linear"],
        ["└─", "3:", "Linear"],
    ]
    assert "101,770 parameters, all trainable" in ended.stdout
    assert max(map(len, lines[1:])) <= 80
    assert lines[-1] == "next: memprof explain configs/mnist_mlp.yaml --batch-size 64"


def test_summary_json_has_the_totals_of_the_sweep(memprof: Memprof, tmp_path: Path) -> None:
    options = ("--batch-size", "16", "--json")
    ended = memprof("summary", RESNET, "--optimizer", "adam", *options, **NO_PHANTOM)
    assert ended.returncode == ExitCode.OK, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["source"], found["optimizer"], found["batch_size"]) == ("analytic", "adam", 16)
    assert len(found["modules"]) == 68
    assert found["modules"][0]["path"] == ""
    assert found["modules"][1]["output_shapes"] == [[[16, 64, 112, 112]]]
    relu = next(module for module in found["modules"] if module["path"] == "layer1.0.relu")
    assert (relu["runs"], relu["parameters"]) == (2, 0)
    parts = [name for name in found["totals"] if name != "total_bytes"]
    assert sum(found["totals"][name] for name in parts) == found["totals"]["total_bytes"]
    swept = memprof("sweep", RESNET, "--optimizer", "adam", *options, "--output-dir", str(tmp_path), **NO_PHANTOM)
    assert swept.returncode == ExitCode.OK, swept.stderr
    (row,) = json.loads(swept.stdout)["rows"]
    assert {name: row[name] for name in parts} == {name: found["totals"][name] for name in parts}
    assert row["analytic_total_bytes"] - row["workspace_bytes"] == found["totals"]["total_bytes"]


def test_summary_takes_depth_and_settings(memprof: Memprof) -> None:
    ended = memprof("summary", RESNET, "--depth", "0", "--json", "--set", "precision=bf16", "--set", "batch_size=4")
    (root,) = json.loads(ended.stdout)["modules"]
    assert root["parameters_bytes"] == 2 * 11_689_512
    assert root["output_shapes"] == [[[4, 1000]]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("configs/none.yaml",), ExitCode.CONFIG, "configs/none.yaml"),
        ((RESNET, "--depth", "-1"), ExitCode.CONFIG, "--depth -1: write 0 for the model alone"),
        ((RESNET, "--batch-size", "0"), ExitCode.CONFIG, "--batch-size 0"),
        ((RESNET, "--optimizer", "adamm"), ExitCode.CONFIG, "did you mean adam"),
        (("configs/pool_net.yaml", "--set", "mode=train"), ExitCode.WORKLOAD, "no parameters"),
    ],
)
def test_summary_with_a_mistake_has_one_line(
    memprof: Memprof, arguments: tuple[str, ...], code: ExitCode, said: str
) -> None:
    ended = memprof("summary", *arguments)
    assert ended.returncode == code
    assert ended.stderr.startswith("memprof: ")
    assert len(ended.stderr.splitlines()) == 1
    assert said in ended.stderr
    assert ended.stdout == ""
