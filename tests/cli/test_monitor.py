"""`memprof monitor` next to a process that runs on a phantom, as a user has them in two terminals."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device
from memprof.units import MIB
from tests.cli.conftest import Memprof
from tests.paths import ROOT

T4 = find_gpu("t4")
HELD = T4.context_bytes + 256 * MIB
PEAK = T4.context_bytes + 1024 * MIB
SCRIPT = """
import sys, torch
large = torch.empty(1024 << 20, dtype=torch.uint8, device="cuda")
del large
torch.cuda.empty_cache()
held = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
print("ready", flush=True)
sys.stdin.readline()
large = torch.empty(768 << 20, dtype=torch.uint8, device="cuda")
del large
torch.cuda.empty_cache()
large = torch.empty(1024 << 20, dtype=torch.uint8, device="cuda")
del large
torch.cuda.empty_cache()
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The variables of a user who runs nothing else."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    return {"XDG_RUNTIME_DIR": str(folder)}


@pytest.fixture
def runtime(home: dict[str, str]) -> dict[str, str]:
    """Those of the monitor, from which real GPUs are hidden. From a command they would hide its phantoms too."""
    return {**home, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def training(
    phantom_device_h100: Device,  # noqa: ARG001  skips where no phantom can be had
    tmp_path: Path,
    home: dict[str, str],
) -> Iterator[subprocess.Popen[str]]:
    """A script under `memprof run` that holds memory of a phantom T4, and more for a moment when it reads a line."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--", sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), **home},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    _, complaints = process.communicate("\n\n")
    assert process.returncode == 0, complaints


def test_monitor_once_shows_phantom_and_process(
    memprof: Memprof, training: subprocess.Popen[str], runtime: dict[str, str]
) -> None:
    assert training.poll() is None
    ended = memprof("monitor", "--once", **runtime)
    assert (ended.returncode, ended.stderr) == (ExitCode.OK, "")
    assert "0 Tesla T4 (phantom)" in ended.stdout
    assert ended.stdout.count("361.00 MiB") == 4  # used and peak, of the GPU and of its only process
    assert max(len(line) for line in ended.stdout.splitlines()) <= 80


def test_monitor_once_as_json_is_exact(
    memprof: Memprof, training: subprocess.Popen[str], runtime: dict[str, str]
) -> None:
    assert training.poll() is None
    (gpu,) = json.loads(memprof("monitor", "--once", "--json", "--gpu", "t4", **runtime).stdout)["gpus"]
    assert (gpu["name"], gpu["source"], gpu["index"]) == ("Tesla T4", "emulated", 0)
    assert (gpu["used_bytes"], gpu["peak_bytes"], gpu["total_bytes"]) == (HELD, HELD, T4.total_bytes)
    (process,) = gpu["processes"]
    assert (process["used_bytes"], process["peak_bytes"]) == (HELD, HELD)
    assert process["name"].endswith("train.py")
    other = memprof("monitor", "--once", "--gpu", "h100-80gb", **runtime)
    assert other.returncode == ExitCode.DEVICE
    assert other.stderr == (
        "memprof: no process uses a simulated h100-80gb; memprof monitor without --gpu shows all GPUs\n"
    )


def watching(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "memprof", "monitor", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), "COLUMNS": "100", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(path: Path, count: int) -> list[str]:
    """Return the lines of a file once it has `count`, within a minute."""
    for _ in range(600):
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.1)
    raise AssertionError(f"{path.name} has fewer than {count} lines")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_monitor_interrupted_prints_peaks_and_keeps_the_log(
    training: subprocess.Popen[str], runtime: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log.csv"
    monitor = watching("--interval", "0.1", "--log", str(log), **runtime)
    wait_for_lines(log, 1 + 2)
    assert training.stdin is not None
    assert training.stdout is not None
    print(file=training.stdin, flush=True)
    assert training.stdout.readline() == "done\n"
    wait_for_lines(log, len(log.read_text().splitlines()) + 4)
    monitor.send_signal(number)
    shown, complaints = monitor.communicate(timeout=60)
    assert (monitor.returncode, complaints) == (ExitCode.OK, "")
    assert shown.count("Tesla T4 (phantom)") == 1
    assert "361.00 MiB" in shown
    assert "1.35 GiB" in shown  # the peak that was there for a moment
    assert " samples in 0:0" in shown
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_gpu, of_process = ([row for row in rows if bool(row["pid"]) is named] for named in (False, True))
    assert len(of_gpu) == len(of_process) >= 3
    assert {row["used_bytes"] for row in rows} <= {str(HELD), str(HELD + 768 * MIB), str(HELD + 1024 * MIB)}
    assert of_gpu[0]["peak_bytes"] == of_process[0]["peak_bytes"] == str(HELD)
    assert of_gpu[-1]["peak_bytes"] == of_process[-1]["peak_bytes"] == str(HELD + 1024 * MIB)
    assert {(row["gpu"], row["index"], row["source"], row["total_bytes"]) for row in rows} == {
        ("Tesla T4", "0", "emulated", str(T4.total_bytes))
    }


def test_monitor_json_has_one_line_per_sample(training: subprocess.Popen[str], runtime: dict[str, str]) -> None:
    assert training.poll() is None
    monitor = watching("--interval", "0.1", "--json", **runtime)
    assert monitor.stdout is not None
    samples = [json.loads(monitor.stdout.readline()) for _ in range(3)]
    monitor.send_signal(signal.SIGINT)
    _, complaints = monitor.communicate(timeout=60)
    assert (monitor.returncode, complaints) == (ExitCode.OK, "")
    assert [sample["gpus"][0]["used_bytes"] for sample in samples] == [HELD] * 3
    assert len({sample["time"] for sample in samples}) == 3


def test_monitor_logs_the_processes_of_a_sweep(
    phantom_device_h100: Device, home: dict[str, str], runtime: dict[str, str], tmp_path: Path
) -> None:
    assert phantom_device_h100.name == "h100-80gb"
    (tmp_path / "slow.py").write_text(
        "import time, torch\n"
        "class Slow(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if x.is_cuda: time.sleep(0.5)\n"
        "        return super().forward(x)\n"
        "def build(): return Slow(4, 2)\n"
    )
    config = tmp_path / "slow.yaml"
    config.write_text(
        "model: slow.py:build\ninput: {shape: [4]}\ntarget: {shape: [], dtype: int64, range: [0, 2]}\n"
        "optimizers: [sgd]\nbatch_sizes: [1, 2, 3, 4]\n"
    )
    sweep = subprocess.Popen(
        [sys.executable, "-m", "memprof", "sweep", str(config), "--gpu", "t4", "--output-dir", str(tmp_path / "r")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), **home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    ledgers = Path(runtime["XDG_RUNTIME_DIR"]) / "memprof"
    for _ in range(600):
        if any(ledgers.glob("*.ledger")):
            break
        time.sleep(0.05)
    log = tmp_path / "log.csv"
    monitor = watching("--interval", "0.1", "--log", str(log), **runtime)
    sweep.communicate(timeout=120)
    monitor.send_signal(signal.SIGINT)
    _, complaints = monitor.communicate(timeout=60)
    assert (sweep.returncode, monitor.returncode, complaints) == (ExitCode.OK, ExitCode.OK, "")
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["gpu"] for row in rows} == {"Tesla T4"}
    assert len({row["pid"] for row in rows if row["pid"]}) >= 2  # a process a point
    assert {row["index"] for row in rows} <= {"0", "1"}  # no more phantoms than run at once
    assert list(ledgers.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--once",), ("--json",), ("--log", "log.csv")])
def test_monitor_without_any_gpu_has_one_line(
    memprof: Memprof, runtime: dict[str, str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    ended = memprof("monitor", *options, cwd=tmp_path, **runtime)
    assert (ended.returncode, ended.stdout) == (ExitCode.DEVICE, "")
    assert ended.stderr == (
        "memprof: no GPU to watch: no real GPU was found, and no process uses a simulated one; "
        "start one, for example memprof run --gpu t4 -- python train.py\n"
    )
    assert not (tmp_path / "log.csv").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--interval", "0"), ExitCode.CONFIG, "--interval 0: must be at least 0.1 seconds"),
        (("--interval", "nan"), ExitCode.CONFIG, "--interval nan: must be at least"),
        (("--interval", "often"), ExitCode.CONFIG, "Invalid value for '--interval'"),
        (("--gpu", "t5"), ExitCode.DEVICE, "did you mean t4"),
    ],
)
def test_monitor_with_a_wrong_option_has_one_line(
    call: Memprof, runtime: dict[str, str], options: tuple[str, ...], code: ExitCode, said: str
) -> None:
    ended = call("monitor", *options, **runtime)
    assert ended.returncode == code
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_monitor_with_an_unwritable_log_has_one_line(
    memprof: Memprof, training: subprocess.Popen[str], runtime: dict[str, str], tmp_path: Path
) -> None:
    assert training.poll() is None
    path = tmp_path / "absent" / "log.csv"
    ended = memprof("monitor", "--log", str(path), **runtime)
    assert (ended.returncode, ended.stdout) == (ExitCode.RESULT, "")
    assert ended.stderr == f"memprof: --log {path}: cannot be written: No such file or directory\n"
