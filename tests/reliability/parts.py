"""The campaigns of `make reliability`; each returns its figures as JSON, with the problems that it has found."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.paths import ROOT, WORKLOADS
from tests.reliability.faults.commands import run_faults
from tests.reliability.faults.storage_run import inject_into_storage
from tests.reliability.fuzzing import keep, known, make, read
from tests.reliability.kills.campaign import measure_reference, run_kills
from tests.reliability.kills.sandbox import Sandbox
from tests.reliability.kills.twins import run_twins
from tests.reliability.kinds import KINDS

Figures = dict[str, Any]


def fuzz(folder: Path, cases: int, seed: str) -> Figures:
    """Read inputs of every kind in this process."""
    kinds, problems = {}, list[str]()
    for kind, described in KINDS.items():
        ended = [(case, read(case, folder)) for case in _inputs(kind, seed, round(cases * described.share))]
        found = [(case, end) for case, end in ended if end.problem is not None]
        problems += [f"{end.problem} (kept in {keep(case)})" for case, end in found]
        kinds[kind] = {
            "cases": len(ended),
            "refused": sum(end.refused for _, end in ended),
            "problems": len(found),
            "seconds": max(end.seconds for _, end in ended),
        }
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # getrusage(2): in KiB
    return {"seed": seed, "kinds": kinds, "memory_bytes": memory_bytes, "problems": problems}


def _inputs(kind: str, seed: str, count: int) -> Iterator[Any]:
    yield from known(kind)
    yield from (make(kind, seed, number) for number in range(count))


def storage(folder: Path) -> Figures:
    """Let every call fail while results are written in one process."""
    return inject_into_storage(folder)


def commands(folder: Path, every: int) -> Figures:
    """Let every call of memprof's commands fail, or every n-th."""
    library = folder / "library"
    library.mkdir()
    with _sandbox(folder) as sandbox:
        return asdict(run_faults(sandbox, library, every))


def kills(folder: Path, count: int, seed: str, minutes: float) -> Figures:
    """Kill random processes of sweeps."""
    with _sandbox(folder) as sandbox:
        return asdict(run_kills(sandbox, count, seed, 60 * minutes))


def twins(folder: Path, pairs: int) -> Figures:
    """Run two sweeps of one config at the same time."""
    with _sandbox(folder) as sandbox:
        reference = measure_reference(sandbox)
        found = [run_twins(sandbox, sandbox.root / f"both-{number}", reference) for number in range(pairs)]
    return {"pairs": 2 * pairs, "problems": [problem for problems in found for problem in problems]}


@contextmanager
def _sandbox(folder: Path) -> Iterator[Sandbox]:
    root = folder / "sandbox"
    root.mkdir()
    sandbox = Sandbox(root)
    try:
        yield sandbox
    finally:
        sandbox.close()


# The programs in tests/gpus/phantom/workloads that save, and the names of the older files that they save over.
_SAVING = {
    "PyTorch, safetensors, NumPy": (
        ("saving.py",),
        (
            *("best.pt", "file.pth", "buffer.ckpt", "legacy.pt", "replaced.pt", "model.safetensors", "array.npy"),
            *("arrays.npz", "copied.pt", "cp.pt", "exported.pt", "deleted.pt", "moved.pt", "path.bin", "file.bin"),
            *("legacy.model", "replaced.bin", "weights.bin", "pickled.pkl", "array.dat", "arrays.dat", "copied.bin"),
            *("cp.bin", "checkpoint.pth.tar", "distributed/.metadata", "distributed/__0_0.distcp"),
        ),
    ),
    "transformers": (
        ("trainers.py", "transformers"),
        ("checkpoint-2/model.safetensors", "checkpoint-2/optimizer.pt", "checkpoint-1/trainer_state.json"),
    ),
    "Lightning": (("trainers.py", "lightning"), ("best.ckpt", "last.ckpt")),
    "Accelerate": (
        ("trainers.py", "accelerate"),
        ("checkpoints/checkpoint_0/model.safetensors", "state/pytorch_model.bin", "state/optimizer.bin"),
    ),
}


def checkpoints(folder: Path) -> Figures:
    """Hash older checkpoints before and after programs that save over them on a phantom."""
    ways, problems = [], list[str]()
    for way, (arguments, names) in _SAVING.items():
        out = folder / arguments[-1] / "out"
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(f"the older {name} ".encode() * 50)
        before = _hashes(out)
        done = _save_on_phantom(out.parent, arguments)
        after = _hashes(out)
        saved = re.search(r"memprof: (\d+) checkpoint file", done.stderr)
        files = [{"file": name, "before": before[name], "after": after.get(name, "-")} for name in before]
        ways.append({"way": way, "saved": int(saved[1]) if saved else 0, "files": files})
        problems += [f"{way}: {file['file']} has changed" for file in files if file["before"] != file["after"]]
        problems += (
            [f"{way}: ended with {done.returncode}: {done.stderr[-500:]}"] if done.returncode or not saved else []
        )
    return {"ways": ways, "problems": problems}


def _save_on_phantom(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--writes", "discard", "--", sys.executable]
    script = [str(WORKLOADS / arguments[0]), *arguments[1:]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "profiler"), *sys.path])}
    return subprocess.run([*run, *script], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
