"""Folders of their own for a campaign: what a command leaves there, and which processes still run, can be listed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from memprof.worker.fork_client import fork_server_status, stop_fork_server
from tests.conftest import torch_is_at_least
from tests.paths import ROOT

_GONE_SECONDS = 30.0  # for processes to end after their command; they need milliseconds on a quiet machine
MODEL = """
import subprocess, time
import torch

class Slow(torch.nn.Linear):
    def forward(self, x):
        if type(x) is torch.Tensor and x.is_cuda:
            time.sleep(0.02)
            subprocess.Popen(["sleep", "1000"], start_new_session=len(x) % 2 == 0)
        return super().forward(x)

def build():
    subprocess.Popen(["sleep", "1000"])
    return Slow(4, 2)
"""
CONFIG = """
model: slow.py:build
input: {shape: [4]}
target: {shape: [], dtype: int64, range: [0, 2]}
optimizers: [sgd, adam]
batch_sizes: [1, 2, 3]
"""
POINTS = 6


class Sandbox:
    """Runs memprof with a folder for temporary files and one for sockets and ledgers, both below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fork_servers = dict[Path, int]()  # by socket
        self.temporary, self._runtime = root / "tmp", root / "run"
        for folder in (self.temporary, self._runtime):
            folder.mkdir(mode=0o700)
        (root / "slow.py").write_text(MODEL)
        self.config = root / "slow.yaml"
        self.config.write_text(CONFIG)

    def variables(self, fork_server: str = "start") -> Mapping[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "profiler"), *sys.path]),
            "TMPDIR": str(self.temporary),
            "XDG_RUNTIME_DIR": str(self._runtime),
            "MEMPROF_FORK_SERVER": fork_server,
            "COLUMNS": "200",
        }

    def start(
        self, arguments: Sequence[str], fork_server: str = "start", *, folder: Path | None = None, **more: str
    ) -> subprocess.Popen[str]:
        """Start memprof, by default in the sandbox's own folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "memprof", *arguments],
            cwd=folder or self.root,
            env={**self.variables(fork_server), **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run memprof to its end."""
        process = self.start(arguments)
        printed, said = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, printed, said)

    def sweep(self, output: Path) -> tuple[str, ...]:
        """Return the arguments of the sweep that a campaign runs."""
        return ("sweep", str(self.config), "--gpu", "t4", "--output-dir", str(output), "--json")

    def fork_servers(self) -> set[int]:
        """Return the process ids of this sandbox's fork servers."""
        for path in (self._runtime / "memprof").glob("worker-*.sock"):
            if path not in self._fork_servers and (status := fork_server_status(path)) is not None:
                self._fork_servers[path] = status.pid
        return set(self._fork_servers.values())

    def processes(self) -> set[int]:
        """Return all processes that memprof started in this sandbox, without the fork servers."""
        mark = f"XDG_RUNTIME_DIR={self._runtime}".encode()
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
        return found - self.fork_servers()

    def left_over(self) -> list[str]:
        """Wait for processes to end, and return what is left: processes, ledgers and temporary files."""
        deadline = time.monotonic() + _GONE_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        temporary = [path for path in self.temporary.iterdir() if not _is_of_pytorch(path)]
        files = [*temporary, *self._runtime.rglob("*.ledger")]
        return [f"process {pid}: {_command_of(pid)}" for pid in left] + [f"file {path.name}" for path in files]

    def close(self) -> None:
        """End the fork servers, and what a failed campaign has left."""
        for path in (self._runtime / "memprof").glob("worker-*.sock"):
            stop_fork_server(path)
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]
    return "gone"


def _is_of_pytorch(path: Path) -> bool:
    """Return whether PyTorch leaves a folder: its cache of compiled code, and what 2.9 writes while it is imported.

    The latter stays if the process is killed before the import has ended.
    """
    if path.name.startswith("torchinductor_"):
        return True
    if torch_is_at_least(2, 11) or not path.is_dir():
        return False
    return {file.name for file in path.iterdir()} <= {"_remote_module_non_scriptable.py"}
