"""The test cases on two devices, with one worker each; rows come one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from memprof.config.load import LoadedConfig
from memprof.engines.local import default_jobs
from memprof.experiments.session import LocalSession, open_session
from memprof.experiments.verify.cases import FOLDER, Entry
from memprof.experiments.verify.record import Figures, Row
from memprof.gpus.select import Device
from memprof.records import Environment
from memprof.worker.protocol import Job


def verify(
    gpu: Device, phantom: Device, entries: Sequence[Entry]
) -> tuple[tuple[Environment, Environment], Iterator[Row]]:
    """Return the environments of `gpu` and `phantom`, and the rows of `entries`, which run as they are iterated.

    In tests `gpu` may be a phantom too; the source of its environment says so.

    Raises:
        ConfigError, DeviceError, WorkloadError: a worker cannot be started, or a device is unavailable.
    """
    loaded = loaded_cases(entries)
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(loaded, device)) for device in (gpu, phantom)]
        first, second = (session.environment for session in sessions)
        return (first, second), _rows(stack.pop_all(), sessions, entries)


def loaded_cases(entries: Sequence[Entry]) -> LoadedConfig:
    """Return the config with which a worker for `entries` starts."""
    return LoadedConfig(config=entries[0].config, folder=FOLDER, path=FOLDER / "cases.py")


def _rows(stack: ExitStack, sessions: Sequence[LocalSession], entries: Sequence[Entry]) -> Iterator[Row]:
    with stack:
        jobs = [job_of(entry) for entry in entries]
        columns = (session.client.outcomes(jobs, default_jobs(session.device.source)) for session in sessions)
        for entry, measured, emulated in zip(entries, *columns, strict=True):
            yield Row(model=entry.model, point=entry.point, gpu=Figures.of(measured), phantom=Figures.of(emulated))


def job_of(entry: Entry) -> Job:
    """Return the one point of a test case."""
    ((optimizer, batch_size),) = entry.config.points()
    return Job(optimizer=optimizer, batch_size=batch_size, config=entry.config)
