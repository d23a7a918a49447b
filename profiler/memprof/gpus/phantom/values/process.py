"""Values for a whole process of `memprof run --values cpu`."""

from __future__ import annotations

import sys
from multiprocessing.util import Finalize

from .link import is_phantom
from .mode import Cost, start_host_values


def compute_until_exit() -> None:
    """Let the CPU compute values in this thread from now on; a line on stderr has the cost at the end."""
    if not is_phantom():
        return
    # Unlike atexit, this also runs in processes that multiprocessing starts.
    Finalize(None, _tell, args=(start_host_values().cost,), exitpriority=0)


def _tell(cost: Cost) -> None:
    mib = cost.memory.peak_bytes / (1 << 20)
    print(  # noqa: T201  the program's own stderr is where this belongs
        f"memprof phantom: values: the CPU computed {cost.operators_run:,} operators in {cost.seconds:,.1f} s, "
        f"with up to {mib:,.2f} MiB of host memory.",
        file=sys.stderr,
    )
    for name, reason in cost.missing.items():
        print(f"memprof phantom: values: the CPU cannot run {name}: {reason}", file=sys.stderr)  # noqa: T201
