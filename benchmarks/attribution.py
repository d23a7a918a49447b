"""The cost of explaining: a point explained versus only measured, and a history of a million events."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.commands import GPU
from benchmarks.results import Figure
from benchmarks.timing import interleaved, seconds_of
from memprof.allocator import Action, Event, Trace
from memprof.breakdown.attribution import Annotations, PhaseMarker, attribute
from memprof.breakdown.attribution.explain import DeviceFigures
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.gpus.select import choose_device
from memprof.records import Phase
from memprof.units import GIB, MIB, format_bytes
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job

_POINTS = (("resnet50", 32, 3.0), ("vit_b_16", 32, 3.0), ("mnist_mlp", 64, None))  # with the goal, a ratio
_EVENTS = 1_000_000
_ALIVE = 2_000  # simultaneous allocations, about as many as a large model has


def explaining(repeats: int) -> Iterator[Figure]:
    """Compare explaining a point with measuring it, in turns, in one running worker."""
    for name, batch_size, goal in _POINTS:
        loaded = load(Path("configs") / f"{name}.yaml", [Override(flag=Flag.OPTIMIZER, text="adam")])
        job = Job(optimizer=loaded.config.optimizers[0], batch_size=batch_size)
        with WorkerClient(loaded, choose_device(GPU)) as client:
            subjects = [partial(seconds_of, partial(run, client, job)) for run in (_measure, _explain)]
            plain, explained = interleaved(subjects, 3 * repeats)
        yield Figure(
            name=f"explaining {name}, batch {batch_size}",
            memprof=f"{explained * 1000:.0f} ms",
            baseline=f"{plain * 1000:.0f} ms for measuring it",
            value=explained / plain,
            goal=goal,
        )


def million_events(repeats: int) -> Iterator[Figure]:
    """Attribute a history of a million events, in its own process."""
    del repeats
    with get_context("spawn").Pool(1) as pool:
        seconds, peak_bytes = pool.apply(_attribute_a_million)
    against = f"{_EVENTS:,} events"
    yield Figure(name="attribution", memprof=f"{seconds:.1f} s", baseline=against, value=seconds, goal=30, unit="s")
    yield Figure(
        name="its host memory",
        memprof=format_bytes(peak_bytes),
        baseline=against,
        value=peak_bytes / GIB,
        goal=2,
        unit="GiB",
    )


def _measure(client: WorkerClient, job: Job) -> None:
    list(client.outcomes([job], 1))


def _explain(client: WorkerClient, job: Job) -> None:
    client.explain(job)


def _attribute_a_million() -> tuple[float, int]:
    trace, annotations = _history()
    started = time.perf_counter()
    explanation = attribute(trace, annotations, DeviceFigures()).explanation()
    seconds = time.perf_counter() - started
    assert sum(explanation.allocated_parts.values()) == explanation.peak_allocated_bytes
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _history() -> tuple[Trace, Annotations]:
    """Return random allocations and frees in one large segment, with markers for steps of four phases."""
    numbers, trace, annotations = random.Random(1), Trace(), Annotations()
    trace.append(Event(Action.SEGMENT_ALLOC, 0, 2 * _ALIVE * MIB, -1))
    free, alive = list(range(_ALIVE)), list[int]()
    requests = 0
    phases = (Phase.FORWARD, Phase.LOSS, Phase.BACKWARD, Phase.OPTIMIZER)
    while len(trace) < _EVENTS:
        if requests % 80 == 0:
            number = requests // 80
            annotations.markers.append(
                PhaseMarker(position=requests, step=1 + number // 4, phase=phases[number % 4], module=f"m{number % 97}")
            )
        if free and (not alive or numbers.random() < 0.5):
            slot = free.pop(numbers.randrange(len(free)))
            alive.append(slot)
            trace.append(Event(Action.ALLOC, slot * 2 * MIB, numbers.randrange(1, 2 * MIB), -1))
        else:
            slot = alive.pop(numbers.randrange(len(alive)))
            free.append(slot)
            trace.append(Event(Action.FREE_REQUESTED, slot * 2 * MIB, 0, -1))
            trace.append(Event(Action.FREE_COMPLETED, slot * 2 * MIB, 0, -1))
        requests += 1
    return trace, annotations
