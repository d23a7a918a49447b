"""One point of a config run with its history kept: the record that a sweep has of it, and its peak taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from memprof.allocator.address_order import AddressPolicy
from memprof.breakdown.address_spread import AddressRun, AddressSpread, address_run, simulate_orders
from memprof.breakdown.attribution import find_differences
from memprof.breakdown.explanation import Explained
from memprof.config.load import LoadedConfig
from memprof.experiments.sweep import default_jobs, find_commit, make_record
from memprof.gpus.phantom.environment import address_environment, address_policy
from memprof.gpus.select import Device
from memprof.records import Environment, Outcome, RunRecord
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job, Point


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

    def address_spread(self, point: Point, plain: RunRecord) -> AddressSpread:
        """Run the point that ended as `plain` on phantoms that hand out addresses in the other orders.

        Raises:
            WorkloadError, DeviceError: a new worker could not be started.
        """
        optimizer, batch_size = point
        own = address_policy()
        others = [policy for policy in AddressPolicy if policy is not own]
        jobs = [
            Job(
                optimizer=optimizer,
                batch_size=batch_size,
                environment=address_environment(policy),
                record_requests=True,
            )
            for policy in others
        ]
        outcomes = list(self.client.outcomes(jobs, default_jobs(self.environment.source)))
        runs = [
            address_run(policy, ended.status, ended.reading) for policy, ended in zip(others, outcomes, strict=True)
        ]
        return AddressSpread(
            runs=(address_run(own, plain.status, plain.reading), *runs),
            simulated=self._simulate_orders(outcomes),
        )

    def _simulate_orders(self, outcomes: Sequence[Outcome]) -> tuple[AddressRun, ...]:
        for ended in outcomes:
            if ended.allocator_requests is not None and ended.reading is not None:
                total, context = self.environment.gpu_total_bytes, ended.reading.context_bytes
                return simulate_orders(
                    ended.allocator_requests, None if total is None or context is None else total - context
                )
        return ()


@contextmanager
def open_explainer(loaded: LoadedConfig, device: Device) -> Iterator[Explainer]:
    """Start the worker, and end it with the block.

    Raises:
        ConfigError, DeviceError, WorkloadError: the worker, the device or the model cannot be had.
    """
    with WorkerClient(loaded, device) as client:
        environment = replace(client.environment(), git_commit=find_commit(loaded.folder))
        yield Explainer(client=client, loaded=loaded, environment=environment)
