"""The worker of a sweep: the time of one point, and the host memory that it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.commands import GPU
from benchmarks.results import Figure
from benchmarks.timing import IMPORTS, interleaved, run_python, seconds_of
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.gpus.select import choose_device
from memprof.units import KIB, format_bytes
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Point

SMALL, LARGE = 64, 4096
_POINTS_PER_REPEAT = 10  # a point takes tens of milliseconds
_POLL_SECONDS = 0.002


def batch_size(repeats: int) -> Iterator[Figure]:
    """Compare a point of mnist_mlp at batch 4096 with one at 64, in one worker."""
    with _worker("mnist_mlp", SMALL, LARGE) as (client, points):
        subjects = [partial(seconds_of, partial(_measure, client, point)) for point in points]
        small, large = interleaved(subjects, _POINTS_PER_REPEAT * repeats)
    yield Figure(
        name=f"a point of mnist_mlp at batch {LARGE}",
        memprof=f"{1000 * large:.1f} ms",
        baseline=f"{1000 * small:.1f} ms at batch {SMALL}",
        value=large / small,
        goal=1.1,
    )


def host_memory(repeats: int) -> Iterator[Figure]:
    """Compare the host memory of measuring ResNet-50 with that of PyTorch plus the model's weights."""
    bare_bytes = median(run_python(IMPORTS).peak_rss_bytes for _ in range(repeats))
    with _worker("resnet50", 32) as (client, [point]):
        [breakdown] = client.breakdowns([point])
        peaks = [_watch(client, point) for _ in range(repeats)]
    weights_bytes = breakdown.parameters_bytes + breakdown.buffers_bytes
    against = f"{format_bytes(int(bare_bytes))} for imports + {format_bytes(weights_bytes)} of weights"
    for name, peak_bytes in (
        ("host memory of a point of ResNet-50", median(peak.child_bytes for peak in peaks)),
        ("the same with its worker server", median(peak.worker_bytes for peak in peaks)),
    ):
        value = peak_bytes / (bare_bytes + weights_bytes)
        memprof = format_bytes(int(peak_bytes))
        yield Figure(name=name, memprof=memprof, baseline=against, value=value, goal=1.3)


@contextmanager
def _worker(config: str, *sizes: int) -> Iterator[tuple[WorkerClient, list[Point]]]:
    chosen = [Override(flag=Flag.BATCH_SIZE, text=str(size)) for size in sizes]
    adam = Override(flag=Flag.OPTIMIZER, text="adam")
    loaded = load(Path("configs", f"{config}.yaml"), [*chosen, adam])
    with WorkerClient(loaded, choose_device(GPU)) as client:
        client.environment()
        yield client, list(loaded.config.points())


def _measure(client: WorkerClient, point: Point) -> None:
    [outcome] = client.outcomes([point], jobs=1)
    if outcome.error is not None:
        raise RuntimeError(outcome.error)


@dataclass
class _Peaks:
    """The peak resident set of one child, alone and together with its server, shared pages counted once."""

    child_bytes: int = 0
    worker_bytes: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def poll(self, server: int) -> None:
        """Read the server's only child until `ended`; after the child has exited, the last values remain."""
        while not self.ended.is_set():
            with suppress(OSError, IndexError, ValueError):
                child = int(Path(f"/proc/{server}/task/{server}/children").read_text().split()[0])
                self.child_bytes = max(self.child_bytes, _proc_bytes(child, "status", "VmHWM"))
                own_bytes = _proc_bytes(child, "smaps_rollup", "Private_Clean", "Private_Dirty")
                self.worker_bytes = max(self.worker_bytes, own_bytes + _proc_bytes(server, "status", "VmRSS"))
            time.sleep(_POLL_SECONDS)


def _watch(client: WorkerClient, point: Point) -> _Peaks:
    peaks = _Peaks()
    watcher = threading.Thread(target=peaks.poll, args=[client.server_pid])
    watcher.start()
    try:
        _measure(client, point)
    finally:
        peaks.ended.set()
        watcher.join()
    return peaks


def _proc_bytes(pid: int, file: str, *names: str) -> int:
    fields = [line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines()]
    return sum(int(words[1]) * KIB for words in fields if words[0].rstrip(":") in names)
