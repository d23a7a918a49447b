"""What the functions of the API return: answers that print as their commands do, with frames and dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from memprof.breakdown.explanation import Block, Explained, Explanation, TrackedPeak
from memprof.experiments.fit import Step, cheapest_of, peak_bytes
from memprof.experiments.memory_savers import merged_settings
from memprof.records import SCHEMA_VERSION, Environment, MaxBatch, RunRecord, Source, Status, Trial
from memprof.report.documents import compare_document, explain_document, fit_document, max_batch_document
from memprof.report.terminal.compare import compare_table
from memprof.report.terminal.explain import explain_report, peak_report
from memprof.report.terminal.fit import fit_table
from memprof.report.terminal.max_batch import does_not_fit, max_batch_panel
from memprof.report.terminal.render import to_html, to_text
from memprof.report.terminal.sweep import sweep_table
from memprof.report.verdicts import device_bytes, explain_verdict
from memprof.results import to_json
from memprof.results.comparison import VariantResult, optimizer_states

if TYPE_CHECKING:
    import pandas
    from rich.console import RenderableType

_WIDTH = 110  # cells


class Answer:
    """An answer that prints as its command does, in a plain REPL too, and has a display in notebooks."""

    def rendered(self, width: int) -> RenderableType:
        """Return what rich prints, laid out for `width` cells."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with ``--json``."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return what the command prints, in 110 cells."""
        return to_text(self.rendered(_WIDTH), _WIDTH)

    def __repr__(self) -> str:
        return str(self).rstrip("\n")

    def _repr_html_(self) -> str:
        return to_html(self.rendered(_WIDTH), _WIDTH)


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult(Answer):
    """The records of a sweep, in the order of the config's points."""

    records: tuple[RunRecord, ...]
    environment: Environment

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each point, with the columns of `results.csv`: bytes as ``Int64``, unknown as ``<NA>``."""
        from memprof.results.dataframe import frame

        return frame(self.records)

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with ``--json``."""
        return to_json(self.records, self.environment)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return sweep_table(self.records, width)


@dataclass(frozen=True, kw_only=True, repr=False)
class ExplainResult(Answer):
    """The record of one point and what its peak consists of."""

    explained: Explained

    @property
    def explanation(self) -> Explanation | None:
        """What the peak consists of; ``None`` if nothing ran."""
        return self.explained.explanation

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each block that was allocated at the peak, the largest first."""
        return blocks_frame(self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with ``--json``."""
        return explain_document(self.explained)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return explain_report(self.explained, 2, 10, width)


@dataclass(frozen=True, kw_only=True, repr=False)
class MaxBatchResult(Answer):
    """The largest batch that trains, and the trials that verified it."""

    answer: MaxBatch
    environment: Environment

    @property
    def largest_batch_size(self) -> int:
        """The largest batch size that trains; 0 if not even the smallest does."""
        return self.answer.largest_batch_size

    @property
    def safe_batch_size(self) -> int | None:
        """80 % of the largest, rounded down."""
        return self.answer.safe_batch_size

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each trial, in order."""
        from memprof.results.dataframe import plain_frame

        return plain_frame(Trial, (*self.answer.trials, *self.answer.more_trials))

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with ``--json``."""
        return max_batch_document([self.answer], self.environment)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return max_batch_panel(self.answer, width) if self.largest_batch_size else does_not_fit(self.answer)


@dataclass(frozen=True, kw_only=True, repr=False)
class CompareResult(Answer):
    """The variants of a config, the base first."""

    variants: tuple[VariantResult, ...]
    environment: Environment
    config: Mapping[str, Any]

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each variant, with the columns of `results.csv`."""
        from memprof.results.dataframe import frame

        return frame([variant.record for variant in self.variants])

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with ``--json``."""
        return compare_document(self.config, self.environment, self.variants)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return compare_table(self.variants, optimizer_states(self.variants), width)


@dataclass(frozen=True, kw_only=True, repr=False)
class FitResult(Answer):
    """The settings with which a batch fits into a memory limit, and every set that was tried."""

    steps: tuple[Step, ...]
    memory_bytes: int | None
    memory: str

    def __bool__(self) -> bool:
        """Whether a set fits."""
        return cheapest_of(self.steps) is not None

    @property
    def settings(self) -> dict[str, str] | None:
        """The cheapest settings that fit, as `--set` takes them; ``None`` if none does."""
        best = cheapest_of(self.steps)
        return {setting.key: setting.value for setting in merged_settings(best.savers)} if best else None

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each set that was tried."""
        from memprof.results.dataframe import table_frame

        return table_frame([_step_row(step) for step in self.steps])

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with ``--json``."""
        return fit_document(self.steps, self.memory_bytes, None)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return fit_table(self.steps, self.memory, width)


@dataclass(frozen=True, kw_only=True, repr=False)
class FitsResult(Answer):
    """Whether one batch fits: true or false, with the record of the run."""

    record: RunRecord

    def __bool__(self) -> bool:
        """Whether the run came to its end."""
        return self.record.status is Status.OK

    @property
    def device_bytes(self) -> int | None:
        """What the GPU holds at the peak, with the CUDA context; ``None`` if the batch does not fit."""
        return device_bytes(self.record) if self else None

    @property
    def frame(self) -> pandas.DataFrame:
        """One row, with the columns of `results.csv`."""
        from memprof.results.dataframe import frame

        return frame([self.record])

    def to_dict(self) -> dict[str, Any]:
        """Return the answer and the row of the run."""
        return {"fits": bool(self), **to_json([self.record], self.record.environment)}

    def rendered(self, width: int) -> RenderableType:  # noqa: ARG002  one line has any width
        """Return the answer in one line."""
        return explain_verdict(Explained(record=self.record, explanation=None, differences=()))


def blocks_frame(explanation: Explanation | None) -> pandas.DataFrame:
    """Return one row for each block at the peak."""
    from memprof.results.dataframe import plain_frame

    return plain_frame(Block, explanation.blocks if explanation else ())


def _step_row(step: Step) -> dict[str, Any]:
    return {
        "added": step.added,
        "kept": step.kept,
        "fits": step.fits,
        "peak_allocated_bytes": peak_bytes(step.free),
        "peak_reserved_bytes": peak_bytes(step.free, "reserved"),
        "saved_bytes": step.saved_bytes,
    }


@dataclass(frozen=True, kw_only=True, repr=False)
class TrackResult(Answer):
    """What the peak of a tracked region consists of."""

    tracked: TrackedPeak

    @property
    def explanation(self) -> Explanation:
        """What the peak consists of."""
        return self.tracked.explanation

    @property
    def source(self) -> Source:
        """The source of the figures: a real GPU, or a phantom."""
        return self.tracked.source

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each block that was allocated at the peak, the largest first."""
        return blocks_frame(self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values."""
        return {"schema_version": SCHEMA_VERSION, "source": self.source.value, **asdict(self.explanation)}

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        named = [self.tracked.model] if self.tracked.model else []
        title, starred = " · ".join([*named, *self.tracked.circumstances]), self.tracked.context_is_assumed
        return peak_report(self.explanation, title, self.source, width, starred=starred)
