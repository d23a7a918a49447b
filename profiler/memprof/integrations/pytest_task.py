"""What the pytest plugin tells the process of one test, and where that process puts its answer."""

from __future__ import annotations

from dataclasses import dataclass

PROPERTY = "gpu_memory"  # of a report's user_properties: what the test's process has measured


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run of a test: on which GPU, and which peaks of allocated memory it may have."""

    gpu: str
    limit_bytes: int | None = None
    baseline_bytes: int | None = None
    most_percent: float | None = None
