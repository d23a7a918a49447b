"""Print the SHA-256 of older checkpoints before and after `memprof run`, one row for each way of saving.

`python -m benchmarks.checkpoints` writes Markdown to stdout. The scripts that save are those of the tests.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.gpus.phantom.checkpoints import hashes, memprof_run, write_older
from tests.gpus.phantom.test_writes import WAYS
from tests.gpus.phantom.test_writes_trainers import OLDER

_TRAINERS = {"transformers": "Trainer of transformers", "lightning": "Lightning", "accelerate": "Accelerate"}


@dataclass(frozen=True, kw_only=True)
class OlderFile:
    """One file that was there before the run, and its SHA-256; ``None`` if it is gone."""

    way: str
    name: str
    before: str
    after: str | None


def plain_ways() -> Iterator[OlderFile]:
    """Save in every way of `saving.py` over an older file of the same name."""
    names = [name for name in WAYS if name != "distributed"]
    yield from _run("PyTorch, NumPy, safetensors", "saving.py", older=[*names, "distributed/.metadata"])


def trainers() -> Iterator[OlderFile]:
    """Train with each training loop that is installed, in a folder with older checkpoints."""
    for package, title in _TRAINERS.items():
        if importlib.util.find_spec(package):
            yield from _run(title, "trainers.py", package, older=list(OLDER))


def _run(way: str, *arguments: str, older: list[str]) -> Iterator[OlderFile]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_older(folder / "out", older)
        before = hashes(folder)
        finished = memprof_run(folder, *arguments, writes="discard")
        if finished.returncode != 0:
            raise RuntimeError(finished.stderr)
        after: Mapping[str, str] = hashes(folder)
    for file, digest in before.items():
        yield OlderFile(way=way, name=file, before=digest, after=after.get(file))


def main() -> int:
    """Print the table; the exit status is 1 if a file has changed."""
    files = [*plain_ways(), *trainers()]
    console = Console(width=250, highlight=False, markup=False)
    console.print("| saved by | older file | SHA-256 before | SHA-256 after | same |\n| --- | --- | --- | --- | --- |")
    for file in files:
        same = "yes" if file.before == file.after else "NO"
        console.print(f"| {file.way} | {file.name} | {file.before} | {file.after} | {same} |", soft_wrap=True)
    return int(any(file.before != file.after for file in files))


if __name__ == "__main__":
    raise SystemExit(main())
