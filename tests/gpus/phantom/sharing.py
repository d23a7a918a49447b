"""Processes on phantoms whose memory the tests direct."""

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
CARD = find_gpu("rtx-4060")
CONTEXT = CARD.context_bytes


class Sharer:
    """A process that takes memory when it is told to; without a ledger to share it has a phantom of its own."""

    def __init__(self, libraries: PhantomLibraries, ledger: Path | None = None) -> None:
        added = phantom_environment(libraries, CARD, ledger=ledger)
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
        """Take so many bytes; a negative number gives back what it took last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(size, file=self.process.stdin, flush=True)
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """Kill it and leave it a zombie, as a parent does that has not noticed yet."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
