"""The runners of a Ray cluster: actors that Ray places and queues, each with at most one call under way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memprof.engines.agreement import check_environment, check_hello
from memprof.engines.ray_cluster import Slot, reason_of
from memprof.engines.runner import Refused, Runner
from memprof.errors import DeviceError
from memprof.records import Environment

STARTING_SECONDS = 300.0  # until the first runner is there: a cluster that grows takes minutes to start a machine
_WAITING_SECONDS = 0.5  # in Ray's code, where no signal is handled
_CLOSING_SECONDS = 3.0  # the next runner on the machine removes what is left
_MOST_FAILED_STARTS = 3  # one after the other
_FOR_THE_CALLER = ("result", "breakdowns")  # the methods of `Runner` that measure; the others start it
_AGAIN = object()  # the token of a greeting by which a runner says that it is still there


@dataclass(eq=False)
class PooledRunner:
    """One actor. `node` is its machine, once it has said so."""

    actor: Any
    node: str = "a runner"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What a call has instead of a value if its runner ended."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class _Call:
    runner: PooledRunner
    purpose: str  # the method; of "result" and "breakdowns" the value is for the caller
    token: object = None


class RunnerPool:
    """Starts runners, replaces those that end, and waits for their calls. `note` prints one line."""

    def __init__(self, ray: Any, slot: Slot, wanted: int, assignment: Any, note: Callable[[str], None]) -> None:
        self._ray, self._assignment, self._note = ray, assignment, note
        options = {**slot.options, "scheduling_strategy": "SPREAD", "max_restarts": 0, "max_task_retries": 0}
        self._kind = ray.remote(Runner).options(**options)
        self._slot = slot
        self._calls: dict[Any, _Call] = {}
        self.idle: list[PooledRunner] = []
        self.environment: Environment | None = None
        self._first_node = ""
        self._failed_starts = 0
        self._waiting_since = time.monotonic()
        for _ in range(wanted):
            self._add()

    @property
    def runners(self) -> list[PooledRunner]:
        """The runners that are ready or measure."""
        return [*self.idle, *(call.runner for call in self._calls.values() if call.purpose in _FOR_THE_CALLER)]

    def _add(self) -> None:
        runner = PooledRunner(actor=self._kind.remote())
        self._call(runner, "hello")

    def _call(self, runner: PooledRunner, purpose: str, *values: Any, token: object = None) -> None:
        ref = getattr(runner.actor, purpose).remote(*values)
        self._calls[ref] = _Call(runner=runner, purpose=purpose, token=token)

    def ask(self, runner: PooledRunner, method: str, *values: Any, token: object) -> None:
        """Call a method of an idle runner; `wait` returns what it gives, with `token`."""
        self.idle.remove(runner)
        self._call(runner, method, *values, token=token)

    def check_idle(self) -> None:
        """Let each idle runner say that it is still there before it gets another call: its machine may be gone."""
        idle, self.idle = self.idle, []
        for runner in idle:
            self._call(runner, "hello", token=_AGAIN)

    def wait(self) -> list[tuple[PooledRunner, object, Any]]:
        """Wait for a moment; return the calls that have ended since: the runner, the token, and the value or `Lost`.

        Raises:
            DeviceError: runners have different versions, or none can start.
        """
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_WAITING_SECONDS)
        ended = []
        for ref in ready:
            call = self._calls.pop(ref)
            try:
                value = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                value = Lost(reason=reason_of(error))
            if call.purpose in _FOR_THE_CALLER:
                ended.append((call.runner, call.token, self._replace(call, value)))
            else:
                self._go_on(call, value)
        self._check_time()
        return ended

    def _replace(self, call: _Call, value: Any) -> Any:
        """Make the runner idle again, or start another in its place if it ended."""
        if isinstance(value, Lost):
            self._end(call.runner)
            self._add()
        else:
            self.idle.append(call.runner)
        return value

    def _go_on(self, call: _Call, value: Any) -> None:
        """Take the next step of a start: greeting, versions, assignment, environment."""
        runner = call.runner
        if isinstance(value, Lost):
            self._end(runner)
            self._count_failed_start(call, value)
        elif isinstance(value, Refused):
            raise value.error()
        elif call.token is _AGAIN:
            self.idle.append(runner)
        elif call.purpose == "hello":
            check_hello(value)
            runner.node = value.node
            self._call(runner, "start", self._assignment)
        elif call.purpose == "start":
            self._first_node = self._first_node or runner.node
            self.environment = self.environment or value
            check_environment(self.environment, value, runner.node, self._first_node)
            self._failed_starts = 0
            self.idle.append(runner)

    def _count_failed_start(self, call: _Call, lost: Lost) -> None:
        if call.token is _AGAIN:  # it had started
            self._add()
            return
        self._failed_starts += 1
        if self._failed_starts < _MOST_FAILED_STARTS:
            self._add()
        elif not self._calls and not self.idle:
            raise DeviceError(f"no runner can start: {lost.reason}")
        elif self._failed_starts == _MOST_FAILED_STARTS and self.environment is not None:
            self._note(f"a runner cannot start, and the others go on: {lost.reason}")

    def _check_time(self) -> None:
        if self.runners:
            self._waiting_since = time.monotonic()
        elif time.monotonic() - self._waiting_since > STARTING_SECONDS:
            raise DeviceError(
                f"no runner started within {STARTING_SECONDS:g} s: each needs {self._slot.text}, and the cluster may "
                "be busy; `ray status` shows what is free"
            )

    def _end(self, runner: PooledRunner) -> None:
        self._ray.kill(runner.actor, no_restart=True)

    def close(self) -> None:
        """End all runners; those that are idle remove their files first."""
        closing = [runner.actor.close.remote() for runner in self.idle]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSING_SECONDS)
        for runner in {*self.idle, *(call.runner for call in self._calls.values())}:
            self._end(runner)
