"""`memprof monitor`: the GPUs in use, real and phantom, live in the terminal and as a log."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from memprof.cli.console import print_json, stdout
from memprof.errors import ConfigError, DeviceError, ExitCode
from memprof.gpus.monitor import GpuUse, Monitor, open_monitor
from memprof.gpus.monitor_log import open_log
from memprof.records import SCHEMA_VERSION
from memprof.report.terminal.monitor import monitor_table

_SHORTEST_INTERVAL = 0.1  # seconds: asking takes a few milliseconds


@dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """What the command line asks for."""

    gpus: Sequence[str]
    interval_seconds: float
    log: Path | None
    once: bool
    json: bool


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The GPUs at one moment. `number` counts from 1; `seconds` are those since the first."""

    time: datetime
    number: int
    seconds: float
    gpus: tuple[GpuUse, ...]

    @property
    def watched(self) -> str:
        """How long the peaks span."""
        if self.number == 1:
            return f"{self.time:%Y-%m-%d %H:%M:%S} UTC"
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{self.time:%Y-%m-%d %H:%M:%S} UTC · {self.number} samples in {minutes}:{seconds:02} min"


def run(options: MonitorOptions) -> ExitCode:
    """Watch until Ctrl-C, which is the way to end it, or take one sample; print the last one with the peaks."""
    if not options.interval_seconds >= _SHORTEST_INTERVAL:
        raise ConfigError(f"--interval {options.interval_seconds:g}: must be at least {_SHORTEST_INTERVAL} seconds")
    with open_monitor(options.gpus) as monitor:
        samples = _samples(monitor, options.interval_seconds)
        last = next(samples)
        if not last.gpus:
            raise DeviceError(_nothing(options.gpus))
        with open_log(options.log) if options.log else nullcontext() as write, _shown(options) as show, _ended():
            for sample in (last,) if options.once else chain((last,), samples):
                last = sample
                if write:
                    write(sample.time, sample.gpus)
                show(sample)
    if options.json and options.once:
        print_json(_json(last))
    elif not options.json:
        console = stdout()
        console.print(monitor_table(last.gpus, last.watched, console.width))
    return ExitCode.OK


def _samples(monitor: Monitor, interval_seconds: float) -> Iterator[Sample]:
    """Yield a sample at once and then one each interval, however long its handling takes."""
    start = time.monotonic()
    for number in count(1):
        seconds = time.monotonic() - start
        yield Sample(time=datetime.now(UTC), number=number, seconds=seconds, gpus=monitor.sample())
        past = time.monotonic() - start
        time.sleep(interval_seconds - past % interval_seconds)


@contextmanager
def _ended() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block, and no more than that."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown(options: MonitorOptions) -> Iterator[Callable[[Sample], None]]:
    """Yield what shows a sample while the watching goes on: a view in place, or a line of JSON."""
    if options.once:
        yield lambda _: None
    elif options.json:
        yield lambda sample: print(json.dumps(_json(sample), ensure_ascii=False), flush=True)
    else:
        console = stdout()
        with Live(console=console, auto_refresh=False, transient=True) as live:
            hint = Text("Ctrl-C ends", "dim")
            yield lambda sample: live.update(
                Group(monitor_table(sample.gpus, sample.watched, console.width), hint), refresh=True
            )


def _json(sample: Sample) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "time": sample.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "gpus": [asdict(gpu) for gpu in sample.gpus],
    }


def _nothing(names: Sequence[str]) -> str:
    if names:
        return f"no process is on a phantom of {', '.join(names)}; memprof monitor without --gpu shows what there is"
    return (
        "there is no GPU to watch: no real one here, and no process on a phantom; "
        "start one, for example memprof run --gpu t4 -- python train.py"
    )
