"""Snapshots of the user's own program: exact peaks from any start of the history, and damaged files."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.breakdown.snapshot import check_writable, explain_snapshot
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
freed = torch.zeros(3_000_000, device="cuda")
torch.cuda.reset_peak_memory_stats()
torch.cuda.memory._record_memory_history(stacks="python")
step()
del freed
torch.cuda.empty_cache()
step()
torch.cuda.memory._dump_snapshot("FILE")
print(json.dumps([torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()]))
"""

EVENT = {"action": "alloc", "addr": 1, "size": 512, "stream": 0, "frames": []}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("before", [0, 2])
def test_explain_snapshot_peak_is_exact_from_any_start(run_on_phantom: Run, tmp_path: Path, before: int) -> None:
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
        (pickle.dumps({"something": "else"}), "is not a memory snapshot"),
        (pickle.dumps([1, 2]), "holds a list"),
        (b"", "is not a memory snapshot"),
        (pickle.dumps({"device_traces": [[]]})[:-5], "is not a memory snapshot"),
        (b"not a pickle at all", "is not a memory snapshot"),
        (pickle.dumps(Path("/")), "pathlib"),
        (pickle.dumps({"device_traces": 3, "segments": []}), "TypeError"),
        (pickle.dumps({"device_traces": [[{}]], "segments": []}), "is not a memory snapshot"),
        (pickle.dumps({"device_traces": [[{**EVENT, "size": 2**70}]], "segments": []}), "OverflowError"),
        (pickle.dumps({"device_traces": [[{**EVENT, "size": "many"}]], "segments": []}), "TypeError"),
        (pickle.dumps({"device_traces": [[EVENT]], "segments": [{"device": 0, "allocated_size": "x"}]}), "Error"),
        (pickle.dumps({"device_traces": [[EVENT]]}), "KeyError"),
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little"), "is not a memory snapshot"),  # BINBYTES8
        (b"\x80\x04\x8e" + (2**64 - 1).to_bytes(8, "little"), "is not a memory snapshot"),
        (b"\x80\x04\x95" + (2**62).to_bytes(8, "little"), "is not a memory snapshot"),  # FRAME
        (b"\x80\x04}r" + (2**32 - 1).to_bytes(4, "little") + b".", "is not a memory snapshot"),  # LONG_BINPUT
        (b"\x80\x04" + b"(" * 1_000_000, "is not a memory snapshot"),
        (b"\x80\x04" + b"]" * 1000 + b"a" * 999 + b".", "is not a memory snapshot"),
        (b"I" + b"9" * 5_000 + b"\n.", "is not a memory snapshot"),
    ],
)
def test_explain_snapshot_invalid_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.pickle"
    file.write_bytes(content)
    with pytest.raises(ResultError, match=says) as refusal:
        explain_snapshot(file)
    assert str(file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_explain_snapshot_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.pickle", "x" * 300):
        with pytest.raises(ResultError, match="cannot read"):
            explain_snapshot(tmp_path / name)


_MEMORY_BOMB = """
import resource, sys
from pathlib import Path
from memprof.breakdown.snapshot import explain_snapshot
from memprof.errors import ResultError
limits = resource.getrlimit(resource.RLIMIT_AS)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    explain_snapshot(Path(sys.argv[1]))
except ResultError as error:
    print(error)
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(more // 1024, resource.getrlimit(resource.RLIMIT_AS) == limits)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory limit needs /proc")
def test_explain_snapshot_of_few_bytes_takes_little_memory(tmp_path: Path) -> None:
    """An index of 2**27 makes pickle allocate, and fill, a table of 2 GiB."""
    file = tmp_path / "bomb.pickle"
    file.write_bytes(b"\x80\x04}r" + (2**27).to_bytes(4, "little") + b".")
    done = subprocess.run([sys.executable, "-c", _MEMORY_BOMB, str(file)], capture_output=True, text=True, check=True)
    line, figures = done.stdout.splitlines()
    assert line == f"{file} is not a memory snapshot of PyTorch: MemoryError"
    mebibytes, is_restored = figures.split()
    assert int(mebibytes) < 1100
    assert is_restored == "True"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "."])
def test_check_writable_impossible_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResultError, match=r"^snapshot .*: (cannot be written|is a folder)") as refusal:
        check_writable(tmp_path / name)
    assert str(refusal.value).isprintable()
