"""Somebody's own snapshot: its peak to the byte also where the history began in the middle, and bad ones refused."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.breakdown.snapshot import explain_snapshot
from memprof.errors import ResultError

_TRAINING = """
import json, sys, torch
model = torch.nn.Sequential(torch.nn.Linear(1000, 3000), torch.nn.ReLU(), torch.nn.Linear(3000, 10)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
def step():
    optimizer.zero_grad()
    batch = torch.zeros(512, 1000, device="cuda")
    model(batch).sum().backward()
    optimizer.step()
for _ in range(BEFORE):
    step()
gone = torch.zeros(3_000_000, device="cuda")
torch.cuda.reset_peak_memory_stats()
torch.cuda.memory._record_memory_history(stacks="python")
step()
del gone
torch.cuda.empty_cache()
step()
torch.cuda.memory._dump_snapshot("FILE")
print(json.dumps([torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()]))
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("before", [0, 2])
def test_the_peak_is_exact_wherever_the_history_begins(run_on_phantom: Run, tmp_path: Path, before: int) -> None:
    file = tmp_path / "own.pickle"
    done = run_on_phantom(_TRAINING.replace("BEFORE", str(before)).replace("FILE", str(file)))
    assert done.returncode == 0, done.stderr
    allocated, reserved = json.loads(done.stdout)
    explanation = explain_snapshot(file)[0]
    assert (explanation.peak_allocated_bytes, explanation.peak_reserved_bytes) == (allocated, reserved)
    assert sum(explanation.allocated_parts.values()) == sum(block.block_bytes for block in explanation.blocks)
    assert sum(explanation.allocated_parts.values()) == allocated
    assert any(block.line and "script.py" in block.line for block in explanation.blocks)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps({"device_traces": [[], []], "segments": []}), "has no history"),
        (pickle.dumps({"something": "else"}), "is no memory snapshot"),
        (pickle.dumps([1, 2]), "holds a list"),
        (b"", "is no memory snapshot"),
        (pickle.dumps({"device_traces": [[]]})[:-5], "is no memory snapshot"),
        (b"not a pickle at all", "is no memory snapshot"),
        (pickle.dumps(Path("/")), "pathlib"),
    ],
)
def test_what_is_no_snapshot_is_refused_in_a_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.pickle"
    file.write_bytes(content)
    with pytest.raises(ResultError, match=says) as refusal:
        explain_snapshot(file)
    assert str(file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cannot read"):
        explain_snapshot(tmp_path / "none.pickle")
