"""A campaign: its combinations, its table, its mistakes, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.cli.conftest import Memprof, interrupt, one_line, write_slow_config
from tests.paths import CONFIGS


def write(folder: Path, text: str) -> str:
    (folder / "campaign.yaml").write_text(text)
    return str(folder / "campaign.yaml")


@pytest.fixture
def file(tmp_path: Path, phantom_device_h100: Device) -> str:
    assert phantom_device_h100.name == "h100-80gb"
    return write(
        tmp_path,
        f"models: [{CONFIGS}/mnist_cnn.yaml, mnist_mlp]\ngpus: [t4, h100-80gb]\n"
        "settings:\n  - {}\n  - {precision: bf16}\nbatch_sizes: [64, 128]\noptimizers: [sgd]\n",
    )


def test_campaign_measures_each_combination(call: Memprof, file: str, tmp_path: Path) -> None:
    ended = call("campaign", file, "--json", "--output-dir", str(tmp_path / "results"))
    assert ended.returncode == ExitCode.OK, ended.stderr
    found = json.loads(ended.stdout)["campaign"]
    models = (f"{CONFIGS}/mnist_cnn.yaml", "mnist_mlp")
    wanted = [(m, gpu, s) for m in models for gpu in ("t4", "h100-80gb") for s in ("", "precision=bf16")]
    assert [(one["model"], one["gpu"], one["settings"]) for one in found] == wanted
    for one in found:
        assert [(row["batch_size"], row["status"]) for row in one["rows"]] == [(64, "ok"), (128, "ok")]
        assert {row["precision"] for row in one["rows"]} == {"bf16" if one["settings"] else "fp32"}
        assert {row["gpu"] for row in one["rows"]} == {one["gpu"]}
        saved = json.loads(call("show", one["folder"], "--json").stdout)
        assert saved["rows"] == one["rows"]


def test_campaign_table_has_a_row_for_each_combination(call: Memprof, file: str, tmp_path: Path) -> None:
    ended = call("campaign", file, "--output-dir", str(tmp_path / "results"))
    assert ended.stdout.startswith("8 of 8 combinations fit at all their batch sizes\n")
    rows = [line.split() for line in ended.stdout.splitlines() if line.strip().startswith(("t4 ", "h100-80gb "))]
    assert [row[:3] for row in rows] == [
        [gpu, settings, "128"] for _ in range(2) for gpu in ("t4", "h100-80gb") for settings in ("-", "precision=bf16")
    ]
    assert max(map(len, ended.stdout.splitlines()[:-1])) <= 80


def test_campaign_if_interrupted_resumes(memprof: Memprof, phantom_device_h100: Device, tmp_path: Path) -> None:
    write_slow_config(tmp_path, "1, 2, 3")
    file = write(tmp_path, f"models: [slow.yaml]\ngpus: [t4, {phantom_device_h100.name}]\n")
    results = tmp_path / "results"
    stopped = interrupt(["campaign", file, "--output-dir", str(results)], results)
    assert stopped.returncode == ExitCode.INTERRUPTED, stopped.stderr
    assert " of 6 points are saved in " in stopped.stderr
    again = memprof("campaign", file, "--json", "--output-dir", str(results))
    assert again.returncode == ExitCode.OK, again.stderr
    assert "resuming " in again.stderr
    assert [len(one["rows"]) for one in json.loads(again.stdout)["campaign"]] == [3, 3]
    assert len(list((results / "slow").iterdir())) == 2


def test_campaign_model_that_fails_is_a_row(call: Memprof, phantom_device_h100: Device, tmp_path: Path) -> None:
    settings = "input: {shape: [4]}\nloss: sum\noptimizers: [sgd]\nbatch_sizes: [1]\n"
    (tmp_path / "net.py").write_text(
        "import torch\ndef good(): return torch.nn.Linear(4, 4)\ndef bad(): return torch.nn.Linear(5, 4)\n"
    )
    for name in ("good", "bad"):
        (tmp_path / f"{name}.yaml").write_text(f"model: net.py:{name}\n{settings}")
    file = write(tmp_path, f"models: [good.yaml, bad.yaml]\ngpus: [{phantom_device_h100.name}]\n")
    ended = call("campaign", file, "--json", "--output-dir", str(tmp_path / "results"))
    assert ended.returncode == ExitCode.FAILED_ROWS, ended.stderr
    statuses = [[row["status"] for row in one["rows"]] for one in json.loads(ended.stdout)["campaign"]]
    assert statuses == [["ok"], ["error"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus: [t4]\n", ": models: missing"),
        ("models: []\n", "campaign.yaml:1: models: "),
        ("models: [mnist_mlp]\ngpu: [t4]\n", "campaign.yaml:2: gpu: unknown key; did you mean gpus?"),
        ("models: [mnist_mlp]\ngpus:\n  - t4\n  - t5\n", "campaign.yaml:4: gpus[1]: "),
        ("models:\n  - mnist_mlp\n  - nothing.yaml\n", "campaign.yaml:3: models[1]: "),
        (
            "models: [mnist_mlp]\nsettings:\n  - {}\n  - {precision: fp3}\n",
            'campaign.yaml:4: settings[1]: precision="fp3"',
        ),
        ("models: [mnist_mlp]\nbatch_sizes: [many]\n", "campaign.yaml:2: batch_sizes[0]: "),
    ],
)
def test_campaign_mistake_names_line_and_key(call: Memprof, tmp_path: Path, text: str, said: str) -> None:
    refused = call("campaign", write(tmp_path, text), "--output-dir", str(tmp_path / "results"))
    assert said in one_line(refused, ExitCode.CONFIG)
    assert not (tmp_path / "results").exists()
