"""The test cases on two devices, one worker each: rows as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from memprof.config.load import LoadedConfig
from memprof.experiments.sweep import default_jobs, find_commit
from memprof.experiments.verify.cases import FOLDER, Entry
from memprof.experiments.verify.record import Figures, Row
from memprof.gpus.select import Device
from memprof.records import Environment
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job


def verify(
    card: Device, phantom: Device, entries: Sequence[Entry]
) -> tuple[tuple[Environment, Environment], Iterator[Row]]:
    """Return the circumstances of both sides, and the rows of `entries`, which run as they are asked for.

    `card` is the side that the other is held against; in tests it may be a phantom too, and its source says so.

    Raises:
        ConfigError, DeviceError, WorkloadError: a worker or a device cannot be had.
    """
    stack = ExitStack()
    try:
        clients = [stack.enter_context(WorkerClient(_loaded(entries[0]), device)) for device in (card, phantom)]
        commit = find_commit(FOLDER)
        first, second = (replace(client.environment(), git_commit=commit) for client in clients)
    except BaseException:
        stack.close()
        raise
    sides = (first, second)
    return sides, _rows(stack, clients, sides, entries)


def _rows(
    stack: ExitStack, clients: Sequence[WorkerClient], sides: Sequence[Environment], entries: Sequence[Entry]
) -> Iterator[Row]:
    with stack:
        columns = (
            client.outcomes([_job(entry) for entry in entries], default_jobs(side.source))
            for client, side in zip(clients, sides, strict=True)
        )
        for entry, card, phantom in zip(entries, *columns, strict=True):
            yield Row(model=entry.model, point=entry.point, card=Figures.of(card), phantom=Figures.of(phantom))


def _job(entry: Entry) -> Job:
    ((optimizer, batch_size),) = entry.config.points()
    return Job(optimizer=optimizer, batch_size=batch_size, config=entry.config)


def _loaded(entry: Entry) -> LoadedConfig:
    return LoadedConfig(config=entry.config, folder=FOLDER, path=FOLDER / "cases.py")
