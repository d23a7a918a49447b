"""What the driver of a sweep on a Ray cluster costs per point, and what that means for 10,000 points on 100 machines.

`python -m benchmarks.scale` measures the driver alone: real Ray, the real engine and a real results folder, but runners
that return the same outcome at once. Then it simulates clusters with that cost. It prints the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memprof.cli.saving import make_manifest
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.engines.options import EngineKind, EngineOptions
from memprof.engines.protocol import Estimate, PointResult, Task
from memprof.engines.ray_cluster import slot_of
from memprof.engines.ray_engine import RayEngine
from memprof.engines.ray_pool import PooledRunner, RunnerPool
from memprof.engines.runner import Runner
from memprof.experiments.session import Session, open_session
from memprof.experiments.sweep import Sweep, make_record, records_of_sweeps, sweep_points
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Environment
from memprof.results import Kind, ResultFolder
from memprof.worker.protocol import Job

POINTS = 2_000
RUNNERS = (8, 100, 800)
ACTORS = 2  # processes that stand for all runners, so that the machine's memory suffices
POINT_SECONDS = 0.54  # of ResNet-18 in a running worker
START_SECONDS = (15.0, 25.0)  # until a runner has imported PyTorch and built the model, on a machine of the cluster
SPREAD = 0.3  # of the points' durations, log-normal


class InstantRunner(Runner):
    """A runner that measures nothing: it returns what it was given."""

    def __init__(self, environment: Environment, result: PointResult) -> None:
        super().__init__()
        self._environment, self._result = environment, result

    def start(self, assignment: object) -> Environment:  # noqa: ARG002
        return self._environment

    def result(self, task: Task) -> PointResult:  # noqa: ARG002
        return self._result


class SharedPool(RunnerPool):
    """Runners that share a few actors, each of which answers many calls at a time."""

    def __init__(self, actors: Sequence[Any], *values: Any) -> None:
        self._actors, self._added = actors, 0
        super().__init__(*values)

    def _add(self) -> None:
        self._added += 1
        self._call(PooledRunner(actor=self._actors[self._added % len(self._actors)]), "hello")


@dataclass(frozen=True, kw_only=True)
class DriverCost:
    """CPU seconds of the driver per point."""

    runners: int
    engine: float
    saving: float

    @property
    def total(self) -> float:
        return self.engine + self.saving


def main() -> None:
    """Measure, simulate, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--runners", type=int, nargs="*", default=list(RUNNERS))
    arguments = parser.parse_args()
    device = phantom_device(find_gpu("h100-80gb"))
    sizes = [Override(flag=Flag.BATCH_SIZE, text=str(size)) for size in range(1, arguments.points // 2 + 1)]
    optimizers = [Override(flag=Flag.OPTIMIZER, text=name) for name in ("sgd", "adam")]
    loaded = load(Path("configs/mnist_cnn.yaml"), [*sizes, *optimizers])
    environment, result = real_result(loaded, device)
    saving = saving_cost(loaded, environment, result)
    costs = []
    with local_ray() as ray:
        for runners in arguments.runners:
            engine = engine_cost(ray, loaded, device, (environment, result), runners)
            costs.append(DriverCost(runners=runners, engine=engine, saving=saving))
    print("| runners | engine, ms | saving, ms | together, ms | most points per second |")
    print("| --- | --- | --- | --- | --- |")
    for cost in costs:
        parts = (cost.engine, cost.saving, cost.total)
        print(f"| {cost.runners:,} | {' | '.join(f'{1000 * one:.2f}' for one in parts)} | {1 / cost.total:,.0f} |")
    print()
    print(
        "| machines × runners | seconds per point | hours of one runner | total, s | driver busy | lost to the driver |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for machines, slots, seconds in ((100, 1, POINT_SECONDS), (100, 8, POINT_SECONDS), (100, 8, 5.0), (100, 32, 0.54)):
        print(simulated_row(machines * slots, f"{machines:,} × {slots:,}", seconds, costs))


def real_result(loaded: LoadedConfig, device: Device) -> tuple[Environment, PointResult]:
    """Return the environment and the result of one real point, whose size the messages have."""
    optimizer, batch_size = loaded.config.points()[0]
    with open_session(loaded, device) as session:
        task = Task(job=Job(optimizer=optimizer, batch_size=batch_size), estimate=Estimate.REQUIRED)
        ((_, result),) = session.engine.results([task])
        return session.environment, result


def saving_cost(loaded: LoadedConfig, environment: Environment, result: PointResult) -> float:
    """Return the CPU seconds that one record takes to be made and saved."""
    points = sweep_points(loaded.config)
    with tempfile.TemporaryDirectory() as root:
        manifest = make_manifest(Kind.SWEEP, loaded, environment, len(points))
        with ResultFolder.create(Path(root), manifest) as folder:
            started = time.process_time()
            for one in points:
                folder.append(make_record(one.config, environment, one.point, result.breakdown, result.outcome))
            return (time.process_time() - started) / len(points)


@contextmanager
def local_ray() -> Iterator[Any]:
    """Start Ray on this machine, without a dashboard and without reports to anybody."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    import ray

    ray.init(num_cpus=ACTORS, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        yield ray
    finally:
        ray.shutdown()


def engine_cost(
    ray: Any, loaded: LoadedConfig, device: Device, answer: tuple[Environment, PointResult], runners: int
) -> float:
    """Return the CPU seconds per point of asking and receiving, with this many calls under way."""
    kind = ray.remote(InstantRunner).options(num_cpus=0, max_concurrency=max(1, runners // ACTORS))
    actors = [kind.remote(*answer) for _ in range(ACTORS)]
    engine = RayEngine([loaded], device, EngineOptions(kind=EngineKind.RAY), runners, _ignore)
    engine._pool = SharedPool(actors, ray, slot_of(device), runners, None, _ignore)
    while len(engine._pool.idle) < runners:
        engine._pool.wait()
    session = Session(engine=engine, loaded=loaded, device=device, environment=answer[0])
    points = sweep_points(loaded.config)
    started = time.process_time()
    count = sum(1 for _ in records_of_sweeps(session, [Sweep(loaded=loaded, points=points)]))
    spent = (time.process_time() - started) / count
    for actor in actors:
        ray.kill(actor)
    return spent


def _ignore(_: str) -> None:
    pass


def simulated_row(runners: int, name: str, seconds: float, costs: Sequence[DriverCost]) -> str:
    """Return a row of the second table, with the cost measured for as many runners or the next number."""
    cost = next((one for one in costs if one.runners >= runners), costs[-1]).total
    total, busy = simulate(10_000, runners, seconds, cost)
    free, _ = simulate(10_000, runners, seconds, 0.0)
    hours = 10_000 * seconds / 3600
    return f"| {name} | {seconds:g} | {hours:.1f} | {total:,.0f} | {100 * busy:.0f} % | {total - free:,.0f} s |"


def simulate(points: int, runners: int, seconds: float, driver_seconds: float) -> tuple[float, float]:
    """Return how long a sweep takes, and the share of the time in which the driver is busy.

    Each runner starts, and then measures one point at a time. The driver handles one result after the other: until it
    has taken a result, the runner waits for its next point.
    """
    chance = random.Random(0)
    duration: Callable[[], float] = lambda: seconds * chance.lognormvariate(-(SPREAD**2) / 2, SPREAD)  # noqa: E731
    runners = min(runners, points)
    finished = [chance.uniform(*START_SECONDS) + duration() for _ in range(runners)]
    heapq.heapify(finished)
    left, now, busy = points - runners, 0.0, 0.0
    while finished:
        now = max(now, heapq.heappop(finished)) + driver_seconds
        busy += driver_seconds
        if left:
            left -= 1
            heapq.heappush(finished, now + duration())
    return now, busy / now


if __name__ == "__main__":
    main()
