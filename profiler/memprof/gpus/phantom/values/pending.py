"""Operations that were called on the device and have not run on the host.

They run when a value that depends on them is needed. An operation depends on those before it that wrote what it reads.
If it changes a storage, it also depends on those before it that read this storage. All others stay pending, and are
forgotten with the storages that they would write.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from .mirrors import Layout, Mirror, View
from .nested import flatten


class Operation:
    """One call of an operator, with views of mirrors in the place of the device's tensors."""

    __slots__ = ("__weakref__", "arguments", "changed", "function", "is_done", "number", "outputs", "read", "seed")

    def __init__(
        self, number: int, function: Any, arguments: tuple[Any, Any], changed: Sequence[Mirror], seed: int | None
    ) -> None:
        self.number, self.function, self.arguments, self.seed = number, function, arguments, seed
        self.changed: Sequence[Mirror] = changed  # in place; they are among those that are read
        self.read: Sequence[Mirror] = _unique(item.mirror for item in flatten(arguments) if isinstance(item, View))
        self.outputs: list[tuple[int, weakref.ref[Mirror], Layout]] = []  # with the position among the results
        self.is_done = False
        for mirror in self.read:
            mirror.readers.add(self)
        for mirror in changed:
            mirror.writers.append(self)

    def add_output(self, position: int, view: View) -> None:
        """Let the result at `position` be the first values of a new storage."""
        self.outputs.append((position, weakref.ref(view.mirror), view.layout))
        if self not in view.mirror.writers:
            view.mirror.writers.append(self)

    def keep(self, results: Sequence[Any]) -> None:
        """Store the results in those output storages that still exist; the operation is done."""
        known = not any(mirror.is_unknown for mirror in self.read)
        taken = {mirror.storage._cdata for mirror in self.read if mirror.storage is not None}
        for position, reference, layout in self.outputs:
            mirror = reference()
            if mirror is not None:
                _store(results[position] if position < len(results) else None, mirror, layout, taken)
                mirror.is_unknown |= not known
        for mirror in self.changed:
            mirror.is_unknown |= not known
        self.finish()

    def give_up(self) -> None:
        """Leave what would be written unknown; the operation is done."""
        for mirror in (*self.changed, *filter(None, (reference() for _at, reference, _layout in self.outputs))):
            mirror.is_unknown = True
        self.finish()

    def finish(self) -> None:
        """Forget the arguments, so that what no later operation reads is freed."""
        for mirror in (*self.changed, *filter(None, (reference() for _at, reference, _layout in self.outputs))):
            if self in mirror.writers:
                mirror.writers.remove(self)
        for mirror in self.read:
            mirror.readers.discard(self)
        self.arguments, self.read, self.changed, self.outputs = ((), {}), (), (), []
        self.is_done = True


def needed_for(writers: Iterable[Operation]) -> list[Operation]:
    """Return the pending operations that must run so that `writers` can, and these, in their order."""
    needed: dict[int, Operation] = {}
    waiting = list(writers)
    while waiting:
        operation = waiting.pop()
        if operation.is_done or operation.number in needed:
            continue
        needed[operation.number] = operation
        before = [writer for mirror in operation.read for writer in mirror.writers]
        before += [reader for mirror in operation.changed for reader in mirror.readers]
        waiting += [other for other in before if other.number < operation.number]
    return [needed[number] for number in sorted(needed)]


def _store(result: Any, mirror: Mirror, layout: Layout, taken: set[int]) -> None:
    if result is None:
        return  # what only CUDA's kernels use, such as the state of a generator
    if not isinstance(result, Tensor) or result.size() != layout.size:
        mirror.is_unknown = True
        return
    storage = result.untyped_storage()
    fits = result.dtype == layout.dtype and result.stride() == layout.stride and layout.offset == 0
    if fits and result.storage_offset() == 0 and storage._cdata not in taken and mirror.storage is None:
        taken.add(storage._cdata)
        mirror.keep(storage)
    else:
        layout.of(mirror).copy_(result)


def _unique(mirrors: Iterable[Mirror]) -> tuple[Mirror, ...]:
    return tuple({id(mirror): mirror for mirror in mirrors}.values())
