"""The data model of benchmark results: a figure and its goal, a tool's peak, a search for a batch size."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.units import format_bytes, format_percent

FIGURE_HEADINGS: tuple[str, ...] = ("benchmark", "memprof", "against", "result", "goal", "met")
SEARCH_HEADINGS: tuple[str, ...] = (
    "finder",
    "trials",
    "batch size",
    "it trains",
    "one more trains",
    "its own time",
    "whole process",
)
PEAK_HEADINGS: tuple[str, ...] = ("tool", "bytes", "peak", "vs memprof", "its own time", "whole process")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure and its goal, if any: a ratio (``x``), or seconds (``s``)."""

    name: str
    memprof: str
    baseline: str
    value: float
    goal: float | None
    unit: str = "x"
    at_least: bool = False  # the goal is a lower bound

    @property
    def met(self) -> bool:
        """Whether the goal is met; true without a goal."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def cells(self) -> tuple[str, ...]:
        """The row of a table under `FIGURE_HEADINGS`."""
        value = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.2f}"
        cells = (self.name, self.memprof, self.baseline, f"{value} {self.unit}")
        if self.goal is None:
            return (*cells, "-", "-")
        goal = f"at {'least' if self.at_least else 'most'} {self.goal:g} {self.unit}"
        return (*cells, goal, "yes" if self.met else "NO")


@dataclass(frozen=True, kw_only=True)
class ToolPeak:
    """The peak that one tool predicts for one workload; ``None`` if the tool is not installed."""

    workload: str
    tool: str
    peak_bytes: int | None
    memprof_bytes: int
    seconds: float | None = None  # without the imports of torch and torchvision
    process_seconds: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The row of a table under `PEAK_HEADINGS`."""
        times = _seconds(self.seconds), _seconds(self.process_seconds)
        if self.peak_bytes is None:
            return self.tool, "not installed", "-", "-", *times
        difference_bytes = self.peak_bytes - self.memprof_bytes
        percent = format_percent(100 * difference_bytes / self.memprof_bytes)
        difference = percent if difference_bytes else "equal"
        figures = f"{self.peak_bytes:,}", format_bytes(self.peak_bytes), difference
        return self.tool, *figures, *times


@dataclass(frozen=True, kw_only=True)
class BatchSearch:
    """The largest batch size that one finder found, or a `note` why it found none."""

    task: str
    finder: str
    note: str | None = None
    trials: int | None = None
    batch_size: int | None = None
    trains: bool | None = None
    next_trains: bool | None = None
    seconds: float | None = None  # without its imports
    process_seconds: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The row of a table under `SEARCH_HEADINGS`."""
        batch_size = self.note or _text(self.batch_size)
        trains = _yes_or_no(self.trains), _yes_or_no(self.next_trains)
        return (
            self.finder,
            _text(self.trials),
            batch_size,
            *trains,
            _seconds(self.seconds),
            _seconds(self.process_seconds),
        )


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)


def _yes_or_no(value: bool | None) -> str:
    return {None: "-", True: "yes", False: "no"}[value]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
