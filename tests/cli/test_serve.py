"""`memprof serve`: later commands start sooner, print the same, and nothing runs after `--stop`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.cli.conftest import Memprof, one_line

pytestmark = pytest.mark.usefixtures("own_folder")
SWEEP = ("sweep", "configs/mnist_mlp.yaml", "--gpu", "h100-80gb", "--json")


@pytest.fixture
def own_folder(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    memprof: Memprof,
    phantom_device: Device,
) -> Iterator[None]:
    """A folder for sockets in which no process serves yet; nothing serves there after the test."""
    del phantom_device  # skips if none can be built
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    monkeypatch.delenv("MEMPROF_FORK_SERVER", raising=False)
    yield
    memprof("serve", "--stop")


def processes(memprof: Memprof) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads(memprof("serve", "--status", "--json").stdout)["processes"]
    return found


def test_sweep_uses_the_process_and_prints_the_same(memprof: Memprof, tmp_path: Path) -> None:
    cold, warm = tmp_path / "cold", tmp_path / "warm"
    before = memprof(*SWEEP, "--output-dir", str(cold))
    started = memprof("serve")
    assert started.returncode == ExitCode.OK, started.stderr
    [process] = processes(memprof)
    after = memprof(*SWEEP, "--output-dir", str(warm))
    assert Path(f"/proc/{process['pid']}").exists()
    assert [now["served"] for now in processes(memprof)] == [process["served"] + 1]
    assert json.loads(after.stdout)["rows"] == json.loads(before.stdout)["rows"]


def test_serve_twice_starts_one_process(memprof: Memprof) -> None:
    first, second = (memprof("serve", "--json", cwd=Path(where)) for where in ("/", "/tmp"))
    assert [[p["pid"] for p in json.loads(ended.stdout)["processes"]] for ended in (first, second)] == [
        [processes(memprof)[0]["pid"]]
    ] * 2


def test_serve_uses_the_idle_time(memprof: Memprof) -> None:
    memprof("serve", "--idle-minutes", "0.5")
    assert [process["limit_seconds"] for process in processes(memprof)] == [30]


def test_stop_ends_the_process(memprof: Memprof) -> None:
    memprof("serve")
    [process] = processes(memprof)
    assert memprof("serve", "--stop").stdout == "Ended 1 process.\n"
    assert not processes(memprof)
    assert memprof("serve", "--stop").stdout == "No process was running.\n"
    state = Path(f"/proc/{process['pid']}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_two_commands_use_one_process_at_once(memprof: Memprof, tmp_path: Path) -> None:
    memprof("serve")
    commands = [
        subprocess.Popen([sys.executable, "-m", "memprof", *SWEEP, "--output-dir", str(tmp_path / name)],
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.PIPE)
        for name in ("one", "two")
    ]  # fmt: skip
    one, two = (json.loads(command.communicate(timeout=300)[0]) for command in commands)
    assert one["rows"] == two["rows"]
    assert len(processes(memprof)) == 1


def test_status_without_a_process_says_how_to_start(memprof: Memprof) -> None:
    assert memprof("serve", "--status").stdout.startswith("No process keeps PyTorch imported.")


def test_serve_refuses_a_folder_with_a_long_path(memprof: Memprof, tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 90)
    folder.mkdir()
    line = one_line(memprof("serve", XDG_RUNTIME_DIR=str(folder)), ExitCode.DEVICE)
    assert "the path of the folder for the socket is too long" in line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--idle-minutes", "0"), "--idle-minutes is more than 0 and at most 1440, not 0"),
        (("--idle-minutes", "nan"), "--idle-minutes is more than 0 and at most 1440, not nan"),
        (("--stop", "--status"), "--stop and --status exclude each other"),
    ],
)
def test_serve_refuses_options_in_one_line(memprof: Memprof, arguments: tuple[str, ...], text: str) -> None:
    assert one_line(memprof("serve", *arguments), ExitCode.CONFIG) == f"memprof: {text}"


def test_serve_refuses_an_unknown_gpu(memprof: Memprof) -> None:
    assert "rtx-4090" in one_line(memprof("serve", "--gpu", "rtx-409"), ExitCode.DEVICE)
