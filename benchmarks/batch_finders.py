"""Compare memprof max-batch with the batch-size finders of Lightning and accelerate, on one phantom GPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import BatchSearch
from benchmarks.timing import IMPORTS, Finished, run_python, run_until_answer
from memprof.gpus.select import choose_device

_MAX_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A finder of `benchmarks.finders` and the batch size at which its search starts."""

    finder: str
    title: str
    start: int


# Lightning goes up from its default; accelerate only goes down, so its trials depend on the start.
PEERS = (
    Peer(finder="lightning", title="Lightning, binsearch from 2", start=2),
    Peer(finder="accelerate", title="accelerate from 1024", start=1024),
    Peer(finder="accelerate", title="accelerate from 4096", start=4096),
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model of torchvision with SGD, momentum and 3x224x224 images, and the GPU of the catalog to fit it on."""

    model: str
    gpu: str

    @property
    def title(self) -> str:
        """The heading of the table."""
        return f"Largest batch of {self.model} on a phantom {self.gpu}"


TASKS = (Task(model="resnet18", gpu="t4"),)


def batch_finders(repeats: int) -> Iterator[BatchSearch]:
    """Yield the result of each finder, its trials and seconds, and whether it trains in a new process."""
    for task in TASKS:
        rounds = [_round(task) for _ in range(min(repeats, _MAX_REPEATS))]
        yield _ours(task, [memprof for memprof, _, _ in rounds], [imports for _, imports, _ in rounds])
        for index, peer in enumerate(PEERS):
            yield _theirs(task, peer, [finished[index] for _, _, finished in rounds])


def _round(task: Task) -> tuple[Finished, Finished, list[Finished]]:
    config = f"configs/{task.model}.yaml"
    options = ["--gpu", task.gpu, "--optimizer", "sgd+momentum"]
    with tempfile.TemporaryDirectory() as results:
        memprof = run_until_answer(["-m", "memprof", "max-batch", config, *options, "--output-dir", results])
        (document,) = Path(results).glob("*/*/result.json")
        found = json.loads(document.read_text(encoding="utf-8"))["result"][0]
    peers = [_run(peer.finder, task, peer.start) for peer in PEERS]
    return replace(memprof, output=json.dumps(found)), run_python(IMPORTS), peers


def _ours(task: Task, runs: list[Finished], imports: list[Finished]) -> BatchSearch:
    found = json.loads(runs[0].output)
    batch_size = found["largest_batch_size"]
    whole, answer = (median(run.seconds for run in runs), median(run.first_line_seconds or 0.0 for run in runs))
    return BatchSearch(
        task=task.title,
        finder="memprof max-batch",
        trials=len(found["trials"]),
        batch_size=batch_size,
        trains=_trains(task, batch_size),
        next_trains=_trains(task, batch_size + 1),
        seconds=answer - median(run.seconds for run in imports),
        process_seconds=whole,
    )


def _theirs(task: Task, peer: Peer, runs: list[Finished]) -> BatchSearch:
    results: list[Any] = [json.loads(run.output) for run in runs]
    found = results[0]
    if not found["installed"]:
        return BatchSearch(task=task.title, finder=peer.title, note="not installed")
    batch_size = found["batch_size"]
    if batch_size is None:
        return BatchSearch(task=task.title, finder=peer.title, note=f"failed: {str(found['error']).splitlines()[0]}")
    return BatchSearch(
        task=task.title,
        finder=peer.title,
        trials=len(found["trials"]),
        batch_size=batch_size,
        trains=_trains(task, batch_size),
        next_trains=_trains(task, batch_size + 1),
        seconds=median(each["seconds"] for each in results),
        process_seconds=median(run.seconds for run in runs),
    )


@cache
def _trains(task: Task, batch_size: int) -> bool:
    return json.loads(_run("steps", task, batch_size).output)["batch_size"] is not None


def _run(finder: str, task: Task, batch_size: int) -> Finished:
    environment = choose_device(task.gpu).environment
    return run_python(["-m", "benchmarks.finders", finder, task.model, str(batch_size)], environment)
