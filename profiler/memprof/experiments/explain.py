"""One point run with the allocator's history: its record, as a sweep has it, and what its peak consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from memprof.allocator.address_order import AddressPolicy
from memprof.breakdown.attribution import find_differences
from memprof.breakdown.explanation import Explained
from memprof.breakdown.spread import PointSpread, SpreadRun, simulate_orders, spread_run
from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.engines.local import default_jobs
from memprof.engines.protocol import Task
from memprof.experiments.ranks import fullest_results, of_rank
from memprof.experiments.session import LocalSession
from memprof.experiments.sweep import make_record
from memprof.gpus.phantom.environment import Timing, address_environment, address_policy, timing_environment
from memprof.records import Breakdown, Outcome, RunRecord, Status
from memprof.worker.client import NoReplyError, WorkerClient
from memprof.worker.protocol import Job, Point


def explain_point(session: LocalSession, point: Point, snapshot_file: Path | None = None) -> Explained:
    """Run one point and break down its peak; with `snapshot_file`, write the allocator's snapshot there.

    A point that fails keeps what was read until then. Of several ranks it is the fullest, which a run of all finds.

    Raises:
        WorkloadError: the model cannot run these inputs, not even on shapes alone.
    """
    breakdown = None if session.loaded.config.parallel else _breakdown(session.client, point)
    optimizer, batch_size = point
    job = Job(optimizer=optimizer, batch_size=batch_size)
    config = _fullest_rank(session, job)
    outcome, explanation = session.client.explain(of_rank(job, config), snapshot_file)
    return Explained(
        record=make_record(config, session.environment, point, breakdown, outcome),
        explanation=explanation,
        differences=find_differences(explanation, breakdown) if explanation else (),
    )


def _fullest_rank(session: LocalSession, job: Job) -> SweepConfig:
    """Return the config of the rank that is the fullest, or the session's own if there is only one."""
    config = session.loaded.config
    if len(configs_of_ranks(config)) == 1:
        return config
    ((_, ended),) = fullest_results(session.engine, [(Task(job=job), config)])
    return ended.config


def find_spread(session: LocalSession, point: Point, first: RunRecord) -> PointSpread:
    """Run a point on phantoms that differ in what no config sets: addresses, the timing of streams, compile caches.

    `first` is the record of the point with the defaults of the session.

    Raises:
        WorkloadError, DeviceError: a new worker could not be started.
    """
    optimizer, batch_size = point
    own = address_policy()
    others = [policy for policy in AddressPolicy if policy is not own]
    jobs = [
        Job(optimizer=optimizer, batch_size=batch_size, environment=address_environment(policy), record_requests=True)
        for policy in others
    ]
    outcomes = list(session.client.outcomes(jobs, default_jobs(session.environment.source)))
    runs = [spread_run(policy, ended.status, ended.reading) for policy, ended in zip(others, outcomes, strict=True)]
    return PointSpread(
        runs=(spread_run(own, first.status, first.reading), *runs),
        simulated=_simulate(outcomes, session.environment.gpu_total_bytes),
        timings=(
            spread_run(Timing.BUSY, first.status, first.reading),
            _run(session, point, Timing.IDLE, timing_environment(Timing.IDLE)),
        ),
        caches=_cold_and_warm(session, point) if session.loaded.config.compile else (),
    )


def _cold_and_warm(session: LocalSession, point: Point) -> tuple[SpreadRun, ...]:
    """Run a compiled point twice with a new folder for the caches of Inductor and Triton."""
    with TemporaryDirectory(prefix="memprof-compile-") as folder:
        caches = {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": str(Path(folder, "triton"))}
        return tuple(_run(session, point, setting, caches) for setting in ("cold", "warm"))


def _run(session: LocalSession, point: Point, setting: str, environment: Mapping[str, str]) -> SpreadRun:
    optimizer, batch_size = point
    job = Job(optimizer=optimizer, batch_size=batch_size, environment=environment)
    [ended] = session.client.outcomes([job], 1)
    return spread_run(setting, ended.status, ended.reading)


def _breakdown(client: WorkerClient, point: Point) -> Breakdown | None:
    """Return the analytic breakdown; ``None`` if the process that computes it ends without a reply."""
    try:
        return client.breakdowns([point])[0]
    except NoReplyError:
        return None


def _simulate(outcomes: Sequence[Outcome], total_bytes: int | None) -> tuple[SpreadRun, ...]:
    """Replay the requests of the first outcome that has them, in the allocator's simulation."""
    for ended in outcomes:
        if ended.status is Status.OK and ended.allocator_requests is not None and ended.reading is not None:
            context = ended.reading.context_bytes
            available = None if total_bytes is None or context is None else total_bytes - context
            return simulate_orders(ended.allocator_requests, available, ended.refused_requests)
    return ()
