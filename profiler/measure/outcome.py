"""What one measured point gives back. Free of torch, so that it can cross to the parent process."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.records import Reading, Status


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one point ended and what was read until then.

    `error` is one line, and ``None`` exactly where `status` is ok. `reading` is ``None`` where nothing was
    read. `moves` are what the run asked of the allocator, where that was to be noted.
    """

    status: Status
    reading: Reading | None = None
    error: str | None = None
    moves: tuple[int, ...] | None = None
