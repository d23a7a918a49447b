"""The campaigns of `make reliability`; each returns its figures as JSON, with the problems that it has found."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
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
# The tests of each promise that no campaign covers alone.
TESTS = {
    "4. parent": ("tests/worker/test_server.py", "tests/worker/test_leftovers.py"),
    "5. code": ("tests/gpus/phantom/test_cache.py", "tests/gpus/phantom/test_loaded.py"),
    "6. data": ("tests/breakdown/test_snapshot.py", "tests/results/test_load.py", "tests/config/test_hostile.py"),
    "7. signals": ("tests/cli/test_signals.py", "tests/cli/test_streams.py"),
    "8. budgets": ("tests/reliability/test_limits.py", "tests/results/test_folder.py", "tests/worker/test_output.py"),
    "9. files": ("tests/gpus/phantom/test_writes.py", "tests/gpus/phantom/test_writes_files.py"),
}


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


def commands(folder: Path) -> Figures:
    """Let every call of memprof's commands fail."""
    library = folder / "library"
    library.mkdir()
    with _sandbox(folder) as sandbox:
        return asdict(run_faults(sandbox, library))


def kills(folder: Path, count: int, seed: str) -> Figures:
    """Kill random processes of sweeps."""
    with _sandbox(folder) as sandbox:
        return asdict(run_kills(sandbox, count, seed))


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


def checkpoints(folder: Path) -> Figures:
    """Hash older checkpoints before and after programs that save over them on a phantom."""
    rows, problems = [], list[str]()
    for way, arguments in (
        ("PyTorch, safetensors, NumPy", ["saving.py"]),
        ("transformers Trainer", ["trainers.py", "transformers"]),
        ("Lightning", ["trainers.py", "lightning"]),
        ("Accelerate", ["trainers.py", "accelerate"]),
    ):
        below = folder / way.split(maxsplit=1)[0].strip(",").lower()
        out = below / "out"
        out.mkdir(parents=True)
        _write_older(out)
        before = _hashes(out)
        command = [sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--writes", "discard", "--", sys.executable]
        script = [str(WORKLOADS / arguments[0]), *arguments[1:]]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "profiler"), *sys.path])}
        done = subprocess.run(
            [*command, *script], cwd=below, env=environment, capture_output=True, text=True, check=False
        )
        after = _hashes(out)
        saved = re.search(r"memprof: (\d+) checkpoint file", done.stderr)
        rows.append(
            {
                "way": way,
                "saved": int(saved[1]) if saved else 0,
                "files": [
                    {"file": name, "before": digest, "after": after.get(name, "-")} for name, digest in before.items()
                ],
            }
        )
        changed = [name for name, digest in before.items() if after.get(name) != digest]
        problems += [f"{way}: {name} has changed" for name in changed]
        problems += [f"{way}: ended with {done.returncode}: {done.stderr[-500:]}"] if done.returncode else []
    return {"ways": rows, "problems": problems}


# The names that tests/gpus/phantom/workloads/saving.py and trainers.py save.
_SAVED = (
    *("best.pt", "file.pth", "buffer.ckpt", "legacy.pt", "replaced.pt", "model.safetensors", "array.npy"),
    *("arrays.npz", "copied.pt", "cp.pt", "exported.pt", "deleted.pt", "moved.pt", "path.bin", "file.bin"),
    *("legacy.model", "replaced.bin", "weights.bin", "pickled.pkl", "array.dat", "arrays.dat", "copied.bin", "cp.bin"),
    *("checkpoint.pth.tar", "distributed/.metadata", "distributed/__0_0.distcp"),
    *("best.ckpt", "last.ckpt", "checkpoint-1/model.safetensors", "checkpoint-1/trainer_state.json"),
    *("checkpoints/checkpoint_0/model.safetensors", "checkpoints/checkpoint_0/random_states_0.pkl"),
    *("state/pytorch_model.bin", "state/optimizer.bin"),
)


def _write_older(folder: Path) -> None:
    for name in _SAVED:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"the older {name} ".encode() * 50)


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def tests(folder: Path) -> Figures:
    """Run the tests of the promises that no campaign covers alone."""
    rows, problems = [], list[str]()
    for promise, files in TESTS.items():
        report = folder / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}", *files],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
        counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
        rows.append({"promise": promise, "files": list(files), **counts})
        if counts["failures"] or counts["errors"]:
            problems.append(f"{promise}: {counts}")
    return {"promises": rows, "problems": problems}
