"""What an engine on other machines acquires when it starts, and gives back when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Acquiring(ABC):
    """A context manager: `_acquire` puts on the stack how to give back what it takes, also if it fails half-way."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._acquire()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stack.close()

    @abstractmethod
    def _acquire(self) -> None: ...
