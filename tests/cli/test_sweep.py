"""The main job from the command line: rows, figures, files, and going on after a stop."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from memprof.results import COLUMNS
from tests.cli.conftest import Memprof, interrupt, write_slow_config

MLP = "configs/mnist_mlp.yaml"
PARAMETERS_BYTES = 407_080
NOTES_TOTALS_BYTES = {64: 1_047_632, 256: 1_748_048, 1024: 4_549_712, 4096: 15_756_368}


@pytest.fixture(scope="module")
def swept(memprof: Memprof, phantom_device_h100: Device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole sweep of mnist_mlp on a phantom H100: what was printed, and the folder it left."""
    assert phantom_device_h100.name == "h100-80gb"
    folder = tmp_path_factory.mktemp("results")
    ended = memprof("sweep", MLP, "--gpu", "h100-80gb", "--json", "--output-dir", str(folder))
    assert ended.returncode == ExitCode.OK, ended.stderr
    (run,) = (folder / "mnist_mlp").iterdir()
    return {"printed": json.loads(ended.stdout), "stderr": ended.stderr, "run": run}


def test_sweep_has_a_row_for_each_point(swept: dict[str, Any]) -> None:
    rows = swept["printed"]["rows"]
    assert len(rows) == 15
    assert {row["optimizer"] for row in rows} == {"sgd", "sgd+momentum", "adam"}
    assert all(row["status"] == "ok" and row["source"] == "emulated" for row in rows)


def test_sweep_first_line_names_the_phantom(swept: dict[str, Any]) -> None:
    assert swept["stderr"].startswith("emulating NVIDIA H100 80GB HBM3 (h100-80gb) on a phantom GPU")


@pytest.mark.parametrize(("optimizer", "state_bytes"), [("sgd", 0), ("sgd+momentum", 407_080), ("adam", 814_160)])
def test_sweep_breakdown_has_the_figures_of_the_notes(swept: dict[str, Any], optimizer: str, state_bytes: int) -> None:
    for row in (row for row in swept["printed"]["rows"] if row["optimizer"] == optimizer):
        assert row["parameters_bytes"] == row["gradients_bytes"] == PARAMETERS_BYTES
        assert row["optimizer_state_bytes"] == state_bytes


@pytest.mark.parametrize(("batch_size", "notes_bytes"), NOTES_TOTALS_BYTES.items())
def test_sweep_textbook_total_is_that_of_the_notes(swept: dict[str, Any], batch_size: int, notes_bytes: int) -> None:
    rows = swept["printed"]["rows"]
    (row,) = (row for row in rows if row["optimizer"] == "sgd" and row["batch_size"] == batch_size)
    assert row["textbook_total_bytes"] == notes_bytes


def test_sweep_estimate_is_within_2_percent_of_the_peak(swept: dict[str, Any]) -> None:
    for row in swept["printed"]["rows"]:
        assert abs(row["difference_percent"]) < 2, row


def test_sweep_rows_add_up(swept: dict[str, Any]) -> None:
    categories = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations", "workspace")
    for row in swept["printed"]["rows"]:
        assert sum(row[f"{name}_bytes"] for name in categories) == row["analytic_total_bytes"]
        assert row["peak_allocated_bytes"] - row["analytic_peak_bytes"] == row["difference_bytes"]
        assert row["nvml_used_bytes"] == row["peak_reserved_bytes"] + row["context_bytes"]
        assert row["peak_requested_bytes"] <= row["peak_allocated_bytes"] <= row["peak_reserved_bytes"]
        phases = (row[f"{name}_peak_bytes"] for name in ("load", "forward", "backward", "optimizer"))
        assert max(phases) == row["peak_allocated_bytes"]


def test_sweep_on_a_phantom_has_no_step_times(swept: dict[str, Any]) -> None:
    assert all(row["seconds_per_step"] is None for row in swept["printed"]["rows"])


def test_sweep_csv_has_the_printed_figures(swept: dict[str, Any]) -> None:
    with (swept["run"] / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS) == list(swept["printed"]["rows"][0])
    peaks = [row["peak_allocated_bytes"] for row in swept["printed"]["rows"]]
    assert [int(row["peak_allocated_bytes"]) for row in rows] == peaks


def test_show_prints_the_saved_rows_again(call: Memprof, swept: dict[str, Any]) -> None:
    again = call("show", str(swept["run"]), "--json")
    assert json.loads(again.stdout)["rows"] == swept["printed"]["rows"]
    table = call("show", str(swept["run"]))
    assert "emulated" in table.stdout
    verdict, *lines, _place, following = table.stdout.splitlines()
    assert verdict.startswith("fits up to batch ")
    assert following.startswith("next: memprof ")
    assert max(map(len, lines)) <= 80


def test_sweep_out_of_memory_is_a_row(memprof: Memprof, phantom_device_h100: Device, tmp_path: Path) -> None:
    assert phantom_device_h100.name == "h100-80gb"
    options = ("--gpu", "t4", "--optimizer", "sgd", "--json", "--output-dir", str(tmp_path))
    ended = memprof("sweep", MLP, "--batch-size", "64", "--batch-size", "8000000", "--batch-size", "256", *options)
    assert ended.returncode == ExitCode.OK, ended.stderr
    statuses = {row["batch_size"]: row["status"] for row in json.loads(ended.stdout)["rows"]}
    assert statuses == {64: "ok", 256: "ok", 8_000_000: "oom"}


def test_sweep_if_interrupted_resumes(memprof: Memprof, phantom_device_h100: Device, tmp_path: Path) -> None:
    assert phantom_device_h100.name == "h100-80gb"
    config = write_slow_config(tmp_path, "1, 2, 3, 4, 5, 6, 7, 8")
    results = tmp_path / "results"
    arguments = ["sweep", str(config), "--gpu", "h100-80gb", "--json", "--output-dir", str(results)]
    stopped = interrupt(arguments, results)
    folder, saved = rows_in(results)
    assert stopped.returncode == ExitCode.INTERRUPTED
    assert stopped.stderr.splitlines()[-1] == (
        f"memprof: interrupted; {saved} of 8 points are saved in {folder}; run the same command to resume"
    )
    again = memprof(*arguments)
    assert again.returncode == ExitCode.OK, again.stderr
    assert f"resuming {folder}: {saved} of 8 points are saved" in again.stderr
    assert [row["batch_size"] for row in json.loads(again.stdout)["rows"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(list((tmp_path / "results" / "slow").iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sweep_if_terminated_names_what_was_saved(
    phantom_device_h100: Device, tmp_path: Path, number: signal.Signals
) -> None:
    config, results = write_slow_config(tmp_path, "1, 2, 3, 4"), tmp_path / "results"
    arguments = ["sweep", str(config), "--gpu", phantom_device_h100.name, "--output-dir", str(results)]
    stopped = interrupt(arguments, results, number)
    folder, saved = rows_in(results)
    assert stopped.returncode == 128 + number
    assert stopped.stderr.splitlines()[-1] == (
        f"memprof: interrupted by {number.name}; {saved} of 4 points are saved in {folder}; "
        "run the same command to resume"
    )


def test_sweep_of_several_configs_resumes_in_each_folder(
    memprof: Memprof, phantom_device_h100: Device, tmp_path: Path
) -> None:
    first, results = write_slow_config(tmp_path, "1, 2"), tmp_path / "results"
    second = tmp_path / "slower.yaml"
    second.write_text(first.read_text().replace("[1, 2]", "[3, 4, 5, 6]"))
    options = ["--gpu", phantom_device_h100.name, "--json", "--output-dir", str(results)]
    stopped = interrupt(["sweep", str(first), str(second), *options], results)
    (rows,) = (results / "slow").glob("*/records.jsonl")
    assert len(rows.read_text().splitlines()) == 2
    assert " of 6 points are saved in " in stopped.stderr
    again = memprof("sweep", str(first), str(second), *options)
    assert again.returncode == ExitCode.OK, again.stderr
    sizes = [[row["batch_size"] for row in one["rows"]] for one in json.loads(again.stdout)["sweeps"]]
    assert sizes == [[1, 2], [3, 4, 5, 6]]
    assert {name: len(list((results / name).iterdir())) for name in ("slow", "slower")} == {"slow": 1, "slower": 1}


def test_sweep_of_several_configs_prints_a_table_for_each(
    call: Memprof, phantom_device_h100: Device, tmp_path: Path
) -> None:
    configs = ("configs/mnist_mlp.yaml", "configs/mnist_cnn.yaml")
    options = ("--gpu", phantom_device_h100.name, "--batch-size", "64", "--output-dir", str(tmp_path))
    ended = call("sweep", *configs, *options)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert [line.split(" ")[0] for line in ended.stdout.splitlines() if " · emulated" in line] == [
        "mnist_mlp",
        "mnist_cnn",
    ]
    assert ended.stdout.count("saved in ") == 2
    assert "next: " not in ended.stdout


def rows_in(results: Path) -> tuple[Path, int]:
    """Return the only folder of the slow config, and how many rows it has."""
    (folder,) = (results / "slow").iterdir()
    return folder, len((folder / "records.jsonl").read_text().splitlines())
