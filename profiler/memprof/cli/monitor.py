"""`memprof monitor`: watch the GPUs in use, real and simulated, in the terminal and as a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from memprof.cli import options
from memprof.cli.console import live_view, print_json, print_json_line, stdout
from memprof.cli.overriding import separated
from memprof.cli.signals import Interrupted
from memprof.cli.streams import stdout_error
from memprof.errors import ConfigError, DeviceError, ExitCode
from memprof.gpus.monitor import GpuUse, Monitor, open_monitor
from memprof.gpus.monitor_log import open_log
from memprof.records import SCHEMA_VERSION
from memprof.report.terminal.monitor import monitor_table

EXAMPLES = """\
memprof monitor
memprof monitor --gpu cuda:0 --interval 0.5 --log memory.csv
memprof monitor --once --json"""
_ENDINGS = (Interrupted, KeyboardInterrupt)  # the way to end it, so the status is 0
_SHORTEST_INTERVAL = 0.1  # seconds: asking takes a few milliseconds


@dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """The options of the command."""

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
        """The time, and how long the peaks span."""
        if self.number == 1:
            return f"{self.time:%Y-%m-%d %H:%M:%S} UTC"
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{self.time:%Y-%m-%d %H:%M:%S} UTC · {self.number} samples in {minutes}:{seconds:02} min"


def command(
    gpu: options.WatchedGpus = None,
    interval: options.Interval = 1.0,
    log: options.LogFile = None,
    once: options.Once = False,
    json: options.JsonLines = False,
) -> int:
    """Watch GPUs until Ctrl-C."""
    return run(MonitorOptions(gpus=separated(gpu or ()), interval_seconds=interval, log=log, once=once, json=json))


def run(wanted: MonitorOptions) -> ExitCode:
    """Watch until Ctrl-C, which is the way to end it, or take one sample; print the last one with the peaks."""
    if not wanted.interval_seconds >= _SHORTEST_INTERVAL:
        raise ConfigError(f"--interval {wanted.interval_seconds:g}: must be at least {_SHORTEST_INTERVAL} seconds")
    with open_monitor(wanted.gpus) as monitor:
        samples = _samples(monitor, wanted.interval_seconds)
        last = next(samples)
        if not last.gpus:
            raise DeviceError(_nothing(wanted.gpus))
        with (
            open_log(wanted.log) if wanted.log else nullcontext() as write,
            _shown(wanted) as show,
            suppress(*_ENDINGS),
        ):
            for sample in (last,) if wanted.once else chain((last,), samples):
                last = sample
                if write:
                    write(sample.time, sample.gpus)
                show(sample)
                if stdout_error() is not None:  # nobody reads any more
                    break
    if wanted.json and wanted.once:
        print_json(_json(last))
    elif not wanted.json:
        console = stdout()
        console.print(monitor_table(last.gpus, last.watched, console.width))
    return ExitCode.OK


def _samples(monitor: Monitor, interval_seconds: float) -> Iterator[Sample]:
    """Yield a sample at once and then one per interval, however long its handling takes."""
    start = time.monotonic()
    for number in count(1):
        seconds = time.monotonic() - start
        yield Sample(time=datetime.now(UTC), number=number, seconds=seconds, gpus=monitor.sample())
        past = time.monotonic() - start
        time.sleep(interval_seconds - past % interval_seconds)


@contextmanager
def _shown(wanted: MonitorOptions) -> Iterator[Callable[[Sample], None]]:
    """Yield what shows a sample during the monitoring: a view in place, or a line of JSON."""
    if wanted.once:
        yield lambda _: None
    elif wanted.json:
        yield lambda sample: print_json_line(_json(sample))
    else:
        with live_view("Ctrl-C ends") as update:
            yield lambda sample: update(lambda width: monitor_table(sample.gpus, sample.watched, width))


def _json(sample: Sample) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "time": sample.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "gpus": [asdict(gpu) for gpu in sample.gpus],
    }


def _nothing(names: Sequence[str]) -> str:
    if names:
        return f"no process uses a simulated {', '.join(names)}; memprof monitor without --gpu shows all GPUs"
    return (
        "no GPU to watch: no real GPU was found, and no process uses a simulated one; "
        "start one, for example memprof run --gpu t4 -- python train.py"
    )
