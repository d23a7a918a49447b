"""What to search for, within which limits and how much memory."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.gpus.select import Device
from memprof.worker.protocol import Job

# The first step has no optimizer state yet. Later ones still change which blocks are reused: near the limit, a third or
# fourth step can run out of memory where a second one did not. As long as a step frees the allocator's cache, the next
# one finds other blocks, so more steps run, until one does not free it.
STEPS, MOST_STEPS = 5, 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a search. `timeout_seconds` is for the whole of it.

    If `start` is ``None``, the first trial is about half of what the analytic estimate says would fit.
    """

    start: int | None = None
    most: int | None = None
    multiple_of: int = 1
    memory_limit_bytes: int | None = None
    timeout_seconds: float | None = None

    @property
    def smallest(self) -> int:
        """The smallest batch size to try: `start`, rounded up to a multiple."""
        return self.multiple_of * -(-(self.start or 1) // self.multiple_of)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to search for: a config with one of its optimizers on one GPU.

    With `extras` come the batch at 80 % of the memory and the confirming run.
    """

    config: SweepConfig
    optimizer: OptimizerConfig | None
    device: Device
    extras: bool = True

    def job(self, batch_size: int, limits: Limits) -> Job:
        """Return the job of one trial."""
        return Job(
            config=self.config,
            optimizer=self.optimizer,
            batch_size=batch_size,
            gpu=self.device.choice,
            memory_limit_bytes=limits.memory_limit_bytes,
            steps=STEPS,
            most_steps=MOST_STEPS,
            record_requests=True,
        )


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """The memory of a GPU with a CUDA context on it, and the limit for PyTorch's allocator, if there is one."""

    total_bytes: int
    context_bytes: int = 0
    limit_bytes: int | None = None

    @property
    def allocator_bytes(self) -> int:
        """What the allocator can have: the GPU's memory without the context, or the limit."""
        available = self.total_bytes - self.context_bytes
        return available if self.limit_bytes is None else min(self.limit_bytes, available)

    @property
    def usable_bytes(self) -> int:
        """What the process can have: the GPU's memory, or the limit with the context that the limit does not count."""
        if self.limit_bytes is None:
            return self.total_bytes
        return min(self.limit_bytes + self.context_bytes, self.total_bytes)

    @property
    def usable_bytes_at_80_percent(self) -> int:
        """Eight tenths of `usable_bytes`, rounded down."""
        return self.usable_bytes * 8 // 10
