"""Points on a Ray cluster: one runner for each slot, and only this process writes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.engines.acquired import Acquiring
from memprof.engines.assignment import assign
from memprof.engines.options import EngineOptions
from memprof.engines.protocol import PointResult, Task
from memprof.engines.ray_cluster import connected, slot_of
from memprof.engines.ray_pool import Lost, PooledRunner, RunnerPool
from memprof.engines.runner import Refused
from memprof.errors import DeviceError
from memprof.gpus.select import Device
from memprof.records import Breakdown, Environment, Outcome, Status
from memprof.worker.protocol import Point

_MOST_TRIES = 2  # of one point whose runner ended


class RayEngine(Acquiring):
    """Measures on the runners of a cluster, at most `most` at a time; it ends them with its block."""

    def __init__(
        self,
        configs: Sequence[LoadedConfig],
        device: Device,
        options: EngineOptions,
        most: int,
        note: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._configs, self._device, self._options, self._most, self._note = configs, device, options, most, note

    def _acquire(self) -> None:
        assignment = assign(self._configs, self._device)
        ray = self._stack.enter_context(connected(self._options.address))
        slot = slot_of(self._device)
        wanted = self._options.runners or _slots(ray, slot.count_on)
        if not wanted:
            raise DeviceError(f"no machine of the Ray cluster has room for a runner: it needs {slot.text}")
        runners = min(wanted, self._most)
        self._pool = RunnerPool(ray, slot, runners, ray.put(assignment), self._note)
        self._stack.callback(self._pool.close)

    @property
    def place(self) -> str:
        """How many runners measure, on how many machines."""
        runners = self._pool.runners
        nodes = len({runner.node for runner in runners})
        return f"{_count(len(runners), 'runner')} on {_count(nodes, 'machine')}"

    def environment(self) -> Environment:
        """Return the environment of the first runner that is ready."""
        while self._pool.environment is None:
            self._pool.wait()
        return self._pool.environment

    def breakdowns(
        self,
        points: Sequence[Point],
        config: SweepConfig | None = None,
        device: Device | None = None,
        *,
        with_peaks: bool = True,
    ) -> tuple[Breakdown, ...]:
        """Return the analytic breakdown of each of `points`, from one runner."""
        gpu = None if device is None else device.choice
        ((_, found),) = self._calls([("breakdowns", (points, config, gpu, with_peaks))])
        if isinstance(found, Lost):
            raise DeviceError(f"the analytic estimate was lost twice: {found.reason}")
        return tuple(found)

    def results(self, tasks: Sequence[Task]) -> Generator[tuple[int, PointResult], None, None]:
        """Yield the index and the result of each task as it comes; one that was lost twice is an error."""
        for index, found in self._calls([("result", (task,)) for task in tasks]):
            yield index, _lost(found) if isinstance(found, Lost) else found

    def _calls(self, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> Generator[tuple[int, Any], None, None]:
        """Make each call on some runner; yield its index and value, or `Lost` if its runner ended twice.

        Raises:
            MemprofError: a runner refuses, or none is left.
        """
        waiting, tries, left = deque(range(len(calls))), Counter[int](), len(calls)
        batch = object()  # calls of an earlier batch that was abandoned may still end
        while left:
            while waiting and self._pool.idle:
                index = waiting.popleft()
                method, values = calls[index]
                self._pool.ask(self._pool.idle[0], method, *values, token=(batch, index))
            for runner, token, value in self._pool.wait():
                if not isinstance(token, tuple) or token[0] is not batch:
                    continue
                index = token[1]
                if isinstance(value, Refused):
                    raise value.error()
                tries[index] += 1
                if isinstance(value, Lost) and tries[index] < _MOST_TRIES:
                    self._ask_again(runner, value)
                    waiting.appendleft(index)
                    continue
                left -= 1
                yield index, value

    def _ask_again(self, runner: PooledRunner, lost: Lost) -> None:
        self._note(f"a point was lost on {runner.node} and is measured again: {lost.reason}")
        self._pool.check_idle()


def _lost(lost: Lost) -> PointResult:
    outcome = Outcome(status=Status.ERROR, error=f"its runner ended twice: {lost.reason}")
    return PointResult(breakdown=None, outcome=outcome, seconds=0.0)


def _slots(ray: Any, count_on: Callable[[dict[str, float]], int]) -> int:
    return sum(count_on(node["Resources"]) for node in ray.nodes() if node["Alive"])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
