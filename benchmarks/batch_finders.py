"""memprof's max-batch beside the batch-size finders of Lightning and accelerate, on the same phantom GPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from benchmarks.results import Search
from benchmarks.timing import IMPORTS, Finished, run_python
from memprof.gpus.select import choose_device

_MOST_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A finder of `benchmarks.finders` and the batch size that its search starts at."""

    finder: str
    title: str
    start: int


# Lightning goes up from its default; accelerate only goes down, so its trials depend on how far off the start is.
PEERS = (
    Peer(finder="lightning", title="Lightning, binsearch from 2", start=2),
    Peer(finder="accelerate", title="accelerate from 1024", start=1024),
    Peer(finder="accelerate", title="accelerate from 4096", start=4096),
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A model of torchvision, SGD with momentum, 3x224x224 images, and the GPU of the catalog to fit it on."""

    model: str
    gpu: str

    @property
    def title(self) -> str:
        """What stands above the table."""
        return f"Largest batch of {self.model} on a phantom {self.gpu}"


QUESTIONS = (Question(model="resnet18", gpu="t4"),)


def batch_finders(repeats: int) -> Iterator[Search]:
    """What each finder answers, in how many trials and seconds, and whether that then trains in a new process."""
    for question in QUESTIONS:
        rounds = [_round(question) for _ in range(min(repeats, _MOST_REPEATS))]
        yield _ours(question, [memprof for memprof, _, _ in rounds], [imports for _, imports, _ in rounds])
        for index, peer in enumerate(PEERS):
            yield _theirs(question, peer, [finished[index] for _, _, finished in rounds])


def _round(question: Question) -> tuple[Finished, Finished, list[Finished]]:
    config = f"configs/{question.model}.yaml"
    options = ["--gpu", question.gpu, "--optimizer", "sgd+momentum", "--json"]
    with tempfile.TemporaryDirectory() as results:
        memprof = run_python(["-m", "memprof", "max-batch", config, *options, "--output-dir", results])
    return memprof, run_python(IMPORTS), [_ask(peer.finder, question, peer.start) for peer in PEERS]


def _ours(question: Question, runs: list[Finished], imports: list[Finished]) -> Search:
    found = json.loads(runs[0].output)
    answer = found["largest_batch_size"]
    whole = median(run.seconds for run in runs)
    return Search(
        question=question.title,
        finder="memprof max-batch",
        trials=len(found["trials"]),
        answer=answer,
        trains=_trains(question, answer),
        next_trains=_trains(question, answer + 1),
        seconds=whole - median(run.seconds for run in imports),
        process_seconds=whole,
    )


def _theirs(question: Question, peer: Peer, runs: list[Finished]) -> Search:
    answers: list[Any] = [json.loads(run.output) for run in runs]
    found = answers[0]
    if not found["installed"]:
        return Search(question=question.title, finder=peer.title, note="not installed")
    answer = found["answer"]
    if answer is None:
        return Search(question=question.title, finder=peer.title, note="failed")
    return Search(
        question=question.title,
        finder=peer.title,
        trials=len(found["trials"]),
        answer=answer,
        trains=_trains(question, answer),
        next_trains=_trains(question, answer + 1),
        seconds=median(each["seconds"] for each in answers),
        process_seconds=median(run.seconds for run in runs),
    )


@cache
def _trains(question: Question, batch_size: int) -> bool:
    return json.loads(_ask("steps", question, batch_size).output)["answer"] is not None


def _ask(finder: str, question: Question, batch_size: int) -> Finished:
    environment = choose_device(question.gpu).environment
    return run_python(["-m", "benchmarks.finders", finder, question.model, str(batch_size)], environment)
