"""The dispatch mode of `values: cpu`: each operator runs on the phantom, and on the host if its values are needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from .collectives import RECEIVED, group_of
from .exchange import is_message, publish, receive
from .link import answers, count_unknown_read, hide_mode, peers_are_absent
from .mirrors import HostMemory, Mirrors, View, has_values
from .nested import flatten, map_nested
from .operators import NotOnHostError, run_on_host
from .pending import Operation, needed_for
from .printing import print_with
from .reads import constant_words, deciding_arguments, reads_scalar, reads_size, words_of, words_read
from .routing import ExpertRouting

_RECORD_STREAM = "aten.record_stream.default"
_UNKNOWN = object()  # in the place of numbers that are not kept


@dataclass(slots=True)
class Cost:
    """What the values of the host took, so far."""

    operators: int = 0  # that were called on the device
    operators_run: int = 0  # on the host
    seconds: float = 0.0
    missing: dict[str, str] = field(default_factory=dict)  # operators that the host could not run, with the reason
    memory: HostMemory = field(default_factory=HostMemory)


class HostValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is active, results of operators on the phantom have values, which the CPU computes.

    With `routing` it decides what experts get. Without `computes_all`, only values are computed that follow from small
    known ones, from integers and from `routing`: those of weights, and of what comes from them, stay unknown.
    """

    def __init__(self, routing: ExpertRouting | None, *, computes_all: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._routing, self._computes_all = routing, computes_all
        self.cost = Cost()
        self._mirrors = Mirrors(self.cost.memory)
        self._lock = threading.RLock()
        self._numbers = count()
        self.print_without: Callable[[], None] = lambda: None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator on its device, and note it for the host."""
        named = kwargs or {}
        if any(issubclass(kind, FakeTensor) for kind in types):  # DTensor runs operators on shapes alone
            return func(*args, **named)
        if any(map(_has_own_dispatch, types)):  # it runs its own operators, which come here
            return NotImplemented
        if _keeps_values(func):
            return func(*args, **named)
        tensors = [item for item in flatten((args, named)) if isinstance(item, Tensor)]
        of_device = [tensor for tensor in tensors if tensor.is_cuda]
        if not of_device:
            return self._create(func, args, named)
        if not all(map(has_values, of_device)):
            return self._run_without_values(func, args, named)
        with self._lock:
            if tensors[0].is_cpu and _written(func)[:1] == (0,):
                return self._copy_to_host(func, args, named)
            self.cost.operators += 1
            if _is_between_processes(func, args):
                return self._exchange(func, args, named, of_device)
            operation = self._operation(func, args, named)
            try:
                return self._run(operation, args, named)
            except BaseException:
                operation.finish()
                raise

    def _create(self, function: Any, args: Any, named: Any) -> Any:
        """Run an operator without arguments on the device: its result may be there."""
        seed = _seed(function, args, named)
        result = function(*args, **named)
        if any(map(has_values, flatten(result))):
            with self._lock:
                self.cost.operators += 1
                self._note(self._operation(function, args, named, seed), result)
        return result

    def _run(self, operation: Operation, args: Any, named: Any) -> Any:
        function = operation.function
        if reads_scalar(function):
            return self._read_scalar(operation, args, named)
        if str(named.get("device")) == "cpu":
            return self._move_to_host(operation, args, named)
        if reads_size(function, args):
            return self._run_with_size(operation, args, named)
        with answers(constant_words(function), all_known=False):
            result = function(*args, **named)
        self._note(operation, result, self._routed(function, args, named))
        return result

    def _routed(self, function: Any, args: Any, named: Any) -> Operation | None:
        """Return the operation that chooses experts in the place of this one, if it does that."""
        choose = self._routing.choice(function, args, named) if self._routing is not None else None
        return None if choose is None else Operation(next(self._numbers), choose, ((), {}), (), None)

    def _read_scalar(self, operation: Operation, args: Any, named: Any) -> Any:
        values = self._results(operation)
        with answers((), all_known=values is not None):
            result = operation.function(*args, **named)
        operation.finish()
        return result if values is None else values

    def _move_to_host(self, operation: Operation, args: Any, named: Any) -> Any:
        values = self._results(operation)
        with answers((), all_known=values is not None):
            result = operation.function(*args, **named)
        operation.finish()
        return result if values is None else result.copy_(values)

    def _copy_to_host(self, function: Any, args: Any, named: Any) -> Any:
        """Copy into a tensor of the host, which is the first argument."""
        source = self._mirrors.view(args[1])
        self._run_pending(needed_for(source.mirror.writers))
        with answers((), all_known=not source.mirror.is_unknown):
            function(*args, **named)
        return args[0].copy_(source.tensor())

    def _run_with_size(self, operation: Operation, args: Any, named: Any) -> Any:
        """Run an operator that reads how large its result is, first on the host."""
        deciding = deciding_arguments(operation.function, args)
        if deciding and not self._computes_all and _is_unknown(operation):
            words, values = self._words_of(operation.function, deciding), None
        else:
            words, values = self._words_and_results(operation)
        with answers(words, all_known=False):
            result = operation.function(*args, **named)
        for at, view in self._mirrors.new_views(flatten(result)):
            operation.add_output(at, view)
        if values is None:
            operation.give_up()
        else:
            operation.keep(list(flatten(values)))
        return result

    def _exchange(self, function: Any, args: Any, named: Any, tensors: Sequence[Tensor]) -> Any:
        """Run a collective of several processes: the phantom carries the values of the host, if they are few."""
        for tensor in filter(is_message, tensors):
            view = self._mirrors.view(tensor)
            self._run_pending(needed_for(view.mirror.writers))
            publish(tensor, view)
        changed = [(tensor, self._mirrors.view(tensor)) for tensor in _changed(function, args, named)]
        with answers((), all_known=False):
            result = function(*args, **named)
        results = list(flatten(result))
        changed += [(results[at], view) for at, view in self._mirrors.new_views(results)]
        for tensor, view in changed:
            received = receive(tensor)
            Operation(next(self._numbers), received, ((view,), {}), (view.mirror,), None)
            self._mirrors.call_before_use(tensor, received.take)
        return result

    def _words_of(self, function: Any, deciding: Sequence[Tensor]) -> Sequence[int]:
        """Return what an operator reads of its deciding arguments, whatever the others are."""
        views = [self._mirrors.view(tensor) for tensor in deciding]
        self._run_pending(needed_for(writer for view in views for writer in view.mirror.writers))
        if any(view.mirror.is_unknown for view in views):
            count_unknown_read()
        return words_of(function, [view.tensor() for view in views])

    def _words_and_results(self, operation: Operation) -> tuple[Sequence[int], Any]:
        values = self._results(operation)
        if values is None:
            return (), None
        return words_read(operation.function, map_nested(_on_host, operation.arguments[0]), values), values

    def _run_without_values(self, function: Any, args: Any, named: Any) -> Any:
        """Run an operator on tensors that have no mirror, for instance sparse ones."""
        result = function(*args, **named)
        with self._lock:
            for tensor in _changed(function, args, named):
                if has_values(tensor):
                    self._mirrors.view(tensor).mirror.is_unknown = True
        return result

    def _operation(self, function: Any, args: Any, named: Any, seed: int | None = None) -> Operation:
        if seed is None:
            seed = _seed(function, args, named)
        changed = [self._mirrors.view(tensor).mirror for tensor in _changed(function, args, named)]
        arguments = map_nested(self._kept, (tuple(args), dict(named)))
        return Operation(next(self._numbers), function, arguments, list(dict.fromkeys(changed)), seed)

    def _kept(self, value: Any) -> Any:
        """Return what an argument will be later: a view of the device's tensor, or a copy of the host's."""
        if not isinstance(value, Tensor):
            return value
        if value.is_cuda:
            return self._mirrors.view(value)
        is_weight = value.is_floating_point() and value.numel() > 1
        return _UNKNOWN if is_weight and not self._computes_all else value.detach().clone()

    def _note(self, operation: Operation, result: Any, routed: Operation | None = None) -> None:
        """Let the operation run later, when one of its results is needed; `routed` gives the second, if it is there."""
        for at, view in self._mirrors.new_views(flatten(result)):
            (routed if routed is not None and at == 1 else operation).add_output(at, view)
        if not self._computes_all and _is_unknown(operation):
            operation.give_up()
        if not operation.outputs and not operation.changed:
            operation.finish()

    def _results(self, operation: Operation) -> Any:
        """Run an operation now, after those that it depends on; ``None`` if the host cannot."""
        self._run_pending(other for other in needed_for([operation]) if other is not operation)
        if any(mirror.is_unknown for mirror in operation.read):
            count_unknown_read()
        return self._on_host(operation)

    def _run_pending(self, operations: Iterator[Operation] | Sequence[Operation]) -> None:
        self._mirrors.sweep()
        for operation in operations:
            results = self._on_host(operation)
            if results is None:
                operation.give_up()
            else:
                operation.keep(list(flatten(results)))

    def _on_host(self, operation: Operation) -> Any:
        started = time.perf_counter()
        try:
            results = run_on_host(operation.function, map_nested(_on_host, operation.arguments), operation.seed)
            return () if results is None else results
        except NotOnHostError as error:
            self.cost.missing.setdefault(str(operation.function), str(error))
            return None
        finally:
            self.cost.operators_run += 1
            self.cost.seconds += time.perf_counter() - started


def start_host_values(routing: ExpertRouting | None = None, *, computes_all: bool = True) -> HostValues:
    """Let operators of this thread and of its backward passes have values, until the mode's `__exit__`.

    `routing` and `computes_all` are those of `HostValues`.
    """
    torch._C._set_only_lift_cpu_tensors(True)  # then torch.tensor(…, device="cuda") copies from the host visibly
    hide_mode(hidden=True)
    mode = HostValues(routing, computes_all=computes_all)
    mode.__enter__()  # type: ignore[no-untyped-call]
    mode.print_without = print_with(mode)
    return mode


@contextmanager
def host_values(routing: ExpertRouting | None = None, *, computes_all: bool = True) -> Iterator[Cost]:
    """Let operators on the phantom have values within the block; yields what this takes.

    `routing` and `computes_all` are those of `HostValues`.
    """
    lifted = torch._C._only_lift_cpu_tensors()
    mode = start_host_values(routing, computes_all=computes_all)
    try:
        yield mode.cost
    finally:
        mode.print_without()
        mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        hide_mode(hidden=False)
        torch._C._set_only_lift_cpu_tensors(lifted)


def _is_between_processes(function: Any, args: Any) -> bool:
    group = group_of(function, args)
    return group is not None and group.size() > 1 and not peers_are_absent()


def _is_unknown(operation: Operation) -> bool:
    """Return whether an operation is random, or reads what the host does not know."""
    if operation.seed is not None or any(mirror.is_unknown for mirror in operation.read):
        return True
    return any(item is _UNKNOWN for item in flatten(operation.arguments))


def _has_own_dispatch(kind: type) -> bool:
    return getattr(kind, "__torch_dispatch__", None) is not Tensor.__torch_dispatch__


def _on_host(value: Any) -> Any:
    return value.tensor() if isinstance(value, View) else value


@cache
def _keeps_values(function: Any) -> bool:
    """Return whether an operator only makes a view, or changes one."""
    if str(function) == "aten.resize_.default":  # it may move the values to a larger storage
        return False
    return bool(function.is_view or torch.Tag.inplace_view in function.tags or str(function) == _RECORD_STREAM)


@cache
def _written(function: Any) -> tuple[int | str, ...]:
    """Return the positions, or the names, of the arguments that an operator changes."""
    found: list[int | str] = list(RECEIVED.get(str(function), ()))
    for at, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(argument.name if argument.kwarg_only else at)
    return tuple(found)


def _changed(function: Any, args: Any, named: Any) -> list[Tensor]:
    names = [argument.name for argument in function._schema.arguments]
    values: list[Any] = []
    for key in _written(function):
        if isinstance(key, int):
            values.append(args[key] if key < len(args) else named.get(names[key]))
        else:
            values.append(named.get(key))
    return [item for item in flatten(values) if isinstance(item, Tensor) and item.is_cuda]


def _seed(function: Any, args: Any, named: Any) -> int | None:
    """Return the seed of a random operator: equal for equal states of the device's generator."""
    if torch.Tag.nondeterministic_seeded not in function.tags or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    given = next((item for item in flatten((args, named)) if isinstance(item, torch.Generator)), None)
    generator = given or torch.cuda.default_generators[torch.cuda.current_device()]
    if generator.device.type != "cuda":
        return None
    return hash((generator.initial_seed(), generator.get_offset())) % (1 << 63)
