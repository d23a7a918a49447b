"""Processes on phantoms that allocate what the tests request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.environment import phantom_environment

SHARE = Path(__file__).with_name("workloads") / "share.py"
GPU = find_gpu("rtx-4060")
CONTEXT = GPU.context_bytes


class Sharer:
    """A process that allocates memory on request; without a shared ledger it has its own phantom."""

    def __init__(self, libraries: PhantomLibraries, ledger: Path | None = None) -> None:
        added = phantom_environment(libraries, GPU, ledger=ledger)
        self.process = subprocess.Popen(
            [sys.executable, str(SHARE)],
            env={**os.environ, **added},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def take(self, size: int) -> dict[str, Any]:
        """Allocate that many bytes; a negative number frees the last allocation."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(size, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """Kill it and leave it a zombie, as a parent does that has not waited for it yet."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
