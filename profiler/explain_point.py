"""One point of a config run with its history kept: the record that a sweep has of it, and its peak taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from profiler.attribution import find_differences
from profiler.config_file import LoadedConfig
from profiler.device import Device
from profiler.explanation import Explained
from profiler.records import Environment
from profiler.sweep_runs import find_commit, make_record
from profiler.worker.protocol import Job, Point
from profiler.worker_client import WorkerClient


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """A worker that is there, and its circumstances."""

    client: WorkerClient
    loaded: LoadedConfig
    environment: Environment

    def explain(self, point: Point, snapshot_file: Path | None = None) -> Explained:
        """Run one point and take its peak apart; with `snapshot_file` the allocator's snapshot is written there.

        A point that fails keeps what it took until then.

        Raises:
            WorkloadError: not even its shapes can be run.
        """
        breakdown = self.client.breakdowns([point])[0]
        optimizer, batch_size = point
        outcome, explanation = self.client.explain(Job(optimizer=optimizer, batch_size=batch_size), snapshot_file)
        return Explained(
            record=make_record(self.loaded.config, self.environment, point, breakdown, outcome),
            explanation=explanation,
            differences=find_differences(explanation, breakdown) if explanation else (),
        )


@contextmanager
def open_explainer(loaded: LoadedConfig, device: Device) -> Iterator[Explainer]:
    """Start the worker, and end it with the block.

    Raises:
        ConfigError, DeviceError, WorkloadError: the worker, the device or the model cannot be had.
    """
    with WorkerClient(loaded, device) as client:
        environment = replace(client.environment(), git_commit=find_commit(loaded.folder))
        yield Explainer(client=client, loaded=loaded, environment=environment)
