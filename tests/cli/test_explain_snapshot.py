"""`memprof explain FILE.pickle`: shown, not saved, and nothing runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., "subprocess.CompletedProcess[str]"]

_SCRIPT = """
import torch
torch.cuda.memory._record_memory_history(stacks="python")
layer = torch.nn.Linear(1000, 1000).cuda()
layer(torch.zeros(64, 1000, device="cuda")).sum().backward()
torch.cuda.memory._dump_snapshot("FILE")
"""


def test_explain_snapshot_saves_nothing(run_on_phantom: Command, memprof: Command, tmp_path: Path) -> None:
    file = tmp_path / "own.pickle"
    assert run_on_phantom(_SCRIPT.replace("FILE", str(file))).returncode == 0
    done = memprof("explain", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "own.pickle · device 0" in done.stdout
    assert not (tmp_path / "results").exists()
    refused = memprof("explain", str(file), "--gpu", "t4", cwd=tmp_path)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
