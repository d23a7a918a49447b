"""compare, diff, check and fit as a user runs them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from memprof.records import Breakdown, Environment, Reading, RunRecord, Source, Status
from memprof.results import Manifest, ResultFolder
from memprof.units import MIB
from tests.cli.conftest import interrupt, one_line, write_slow_config
from tests.samples import sample_environment

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]


def save(root: Path, name: str, *peaks: int, torch_version: str = "2.14.1") -> None:
    """Save a sweep of SGD over batch sizes 16, 32, ... with these peaks, as `memprof sweep` does."""
    environment = sample_environment(torch_version=torch_version)
    manifest = Manifest(
        name=name,
        fingerprint="abc",
        config={"precision": "fp32"},
        environment=environment,
        command=("memprof",),
        points_planned=len(peaks),
    )
    with ResultFolder.create(root, manifest) as folder:
        for place, peak in enumerate(peaks):
            folder.append(_record(environment, 16 * 2**place, peak))
        folder.finish()


def _record(environment: Environment, batch_size: int, peak: int) -> RunRecord:
    reading = Reading(
        steps=(),
        peak_allocated_bytes=peak,
        peak_requested_bytes=peak,
        peak_reserved_bytes=2 * MIB,
        nvml_used_bytes=None,
        context_bytes=None,
        inactive_split_bytes=0,
        allocation_retries=0,
        workspace_known=True,
    )
    breakdown = Breakdown(
        parameters_bytes=100,
        buffers_bytes=0,
        gradients_bytes=100,
        optimizer_state_bytes=0,
        input_bytes=10,
        activations_bytes=10,
        workspace_bytes=0,
    )
    return RunRecord(
        model="mnist_mlp",
        optimizer="sgd",
        precision="fp32",
        mode="train",
        batch_size=batch_size,
        source=Source.EMULATED,
        status=Status.OK,
        environment=environment,
        breakdown=breakdown,
        reading=reading,
    )


@pytest.mark.parametrize(("config", "more"), [("mnist_mlp", 814_160), ("cifar_mlp", 3_157_072)])
def test_compare_adam_keeps_twice_the_parameters(
    memprof: Memprof, phantom_device: Device, tmp_path: Path, config: str, more: int
) -> None:
    options = ("--vary", "optimizer=sgd,adam", "--gpu", phantom_device.name, "--json", "--output-dir", str(tmp_path))
    done = memprof("compare", f"configs/{config}.yaml", *options)
    assert done.returncode == ExitCode.OK, done.stderr
    answer = json.loads(done.stdout)
    sgd, adam = answer["rows"]
    assert adam["change"]["optimizer_state_bytes"]["bytes"] == more
    assert adam["change"]["peak_allocated_bytes"]["bytes"] == adam["peak_allocated_bytes"] - sgd["peak_allocated_bytes"]
    assert adam["change"]["peak_allocated_bytes"]["bytes"] >= more  # each tensor in blocks of 512 bytes
    state = answer["optimizer_states"][1]
    assert (state["bytes"], state["factor"], state["expected_factor"]) == (more, 2.0, 2)
    assert more <= state["observed_bytes"] <= more + 8 * 512  # eight tensors, each rounded up


def test_compare_if_interrupted_resumes_by_variant(
    memprof: Memprof, phantom_device_h100: Device, tmp_path: Path
) -> None:
    config, results = write_slow_config(tmp_path, "1"), tmp_path / "results"
    varied = ("--vary", "batch_size=1,2,3,4", "--vary", "precision=fp32,bf16,fp64")
    common = ("--gpu", phantom_device_h100.name, "--output-dir", str(results))
    swept = memprof("sweep", str(config), *common)
    assert swept.returncode == ExitCode.OK, swept.stderr
    arguments = ("compare", str(config), *varied, *common, "--json")
    stopped = interrupt(arguments, results)
    assert stopped.returncode == ExitCode.INTERRUPTED
    assert re.search(r"^memprof: interrupted; \d of 6 variants are saved in ", stopped.stderr, re.MULTILINE)
    again = memprof(*arguments)
    assert again.returncode == ExitCode.OK, again.stderr
    assert "resuming " in again.stderr
    labels = ["base", "batch_size=2", "batch_size=3", "batch_size=4", "precision=bf16", "precision=fp64"]
    assert [row["variant"] for row in json.loads(again.stdout)["rows"]] == labels
    sweep, compared = sorted((results / "slow").iterdir())  # neither went on with the other
    shown = memprof("show", "slow", "--output-dir", str(results), "--json")
    assert shown.stdout == again.stdout
    assert f"saved in {compared}" in memprof("show", str(compared)).stdout
    checked = memprof("check", str(compared), "--baseline", str(compared))
    assert one_line(checked, ExitCode.RESULT).startswith(f"memprof: {compared} and {compared} are the same result, ")
    mixed = memprof("diff", str(sweep), str(compared))
    assert mixed.returncode == ExitCode.RESULT
    assert mixed.stderr == f"memprof: {compared} holds a comparison; a sweep is needed here\n"


def test_fit_prints_the_command_that_runs_the_set(memprof: Memprof, phantom_device: Device) -> None:
    options = ("--batch-size", "4096", "--memory", "90MiB", "--gpu", phantom_device.name)
    done = memprof("fit", "configs/mnist_mlp.yaml", *options)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("fits: ")
    assert last.startswith(f"next: memprof sweep configs/mnist_mlp.yaml --gpu {phantom_device.name} --optimizer sgd ")


def test_fit_without_a_fit_exits_with_7(memprof: Memprof, phantom_device: Device) -> None:
    options = ("--batch-size", "2", "--memory", "1MiB", "--gpu", phantom_device.name)
    done = memprof("fit", "configs/mnist_mlp.yaml", *options, "--json")
    assert done.returncode == ExitCode.DOES_NOT_FIT.value == 7
    answer = json.loads(done.stdout)
    assert (answer["fits"], answer["command"]) == (False, None)
    assert answer["smallest_peak_allocated_bytes"] > MIB


def test_diff_shows_each_row_before_and_after(call: Memprof, tmp_path: Path) -> None:
    save(tmp_path / "results", "old", 10 * MIB, 20 * MIB)
    save(tmp_path / "results", "new", 10 * MIB, 25 * MIB)
    done = call("diff", "old", "new", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "32   20.00 MiB   25.00 MiB   +5.00 MiB" in " ".join(done.stdout.split("\n")).replace("    +", "   +")


def test_diff_of_another_torch_needs_force(call: Memprof, tmp_path: Path) -> None:
    save(tmp_path / "results", "old", 10 * MIB)
    save(tmp_path / "results", "new", 10 * MIB, torch_version="2.15.0")
    done = call("diff", "old", "new", cwd=tmp_path)
    assert done.returncode == ExitCode.RESULT
    assert done.stderr.endswith(
        "they differ in torch (2.14.1 and 2.15.0); `memprof diff --force` shows them next to each other\n"
    )
    assert done.stderr.count("\n") == 1
    forced = call("diff", "old", "new", "--force", "--json", cwd=tmp_path)
    assert json.loads(forced.stdout)["mismatches"] == [{"name": "torch", "before": "2.14.1", "after": "2.15.0"}]


def test_check_of_grown_rows_exits_with_8(call: Memprof, tmp_path: Path) -> None:
    save(tmp_path / "results", "old", 10 * MIB, 20 * MIB, 30 * MIB)
    save(tmp_path / "results", "new", 10 * MIB, 25 * MIB)
    done = call("check", "new", "--baseline", "old", "--max-increase", "2%", cwd=tmp_path)
    assert done.returncode == ExitCode.REGRESSION.value == 8
    assert done.stdout == (
        "failed: 1 of 3 rows grew in peak by more than 2 %, 1 missing\n"
        "  sgd, batch 64: missing\n"
        "  sgd, batch 32: peak 20.00 MiB to 25.00 MiB, +5.00 MiB (+25.0 %)\n"
        "next: memprof diff old new\n"
    )


def test_check_within_the_limit_passes(call: Memprof, tmp_path: Path) -> None:
    save(tmp_path / "results", "old", 10 * MIB, 20 * MIB)
    save(tmp_path / "results", "new", 10 * MIB, 25 * MIB)
    done = call("check", "new", "--baseline", "old", "--max-increase", "5MiB", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "passed: 0 of 2 rows grew in peak by more than 5.00 MiB\n")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (
            ("compare", "configs/mnist_mlp.yaml"),
            "memprof: nothing to compare with the base; give at least one setting another value: "
            "--vary precision=fp32,amp-bf16\n",
        ),
        (
            ("compare", "configs/mnist_mlp.yaml", "--vary", "precison=fp32"),
            "memprof: --vary precison=fp32: unknown key; did you mean precision?\n",
        ),
        (
            ("fit", "configs/mnist_mlp.yaml", "--memory", "8 gigs"),
            "memprof: --memory 8 gigs: '8 gigs' is not a size; write for example 16GiB, 16GB or 1048576\n",
        ),
        (
            ("fit", "configs/mnist_mlp.yaml", "--memory", "0"),
            "memprof: --memory 0: must be above 0; write for example 8GiB\n",
        ),
        (
            ("fit", "configs/mnist_mlp.yaml", "--gpus", "few"),
            "memprof: --gpus few: write a number from 1 to 1,024, or fewest\n",
        ),
        (
            ("fit", "configs/mnist_mlp.yaml", "--gpus", "8", "--memory", "8GiB"),
            "memprof: --gpus 8: --memory limits one GPU; leave it out\n",
        ),
    ],
)
def test_compare_and_fit_refuse_wrong_options(call: Memprof, arguments: tuple[str, ...], refusal: str) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stderr, done.stdout) == (ExitCode.CONFIG, refusal, "")
