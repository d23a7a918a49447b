"""What the functions return: each prints as its command does, and has a display for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from memprof.breakdown.explanation import Block, Explained, Explanation
from memprof.experiments.fit import Step, cheapest_of
from memprof.experiments.memory_savers import merged_settings
from memprof.records import SCHEMA_VERSION, Environment, MaxBatch, RunRecord, Source, Status, Trial
from memprof.report.documents import compare_document, explain_document, fit_document, max_batch_document
from memprof.report.terminal.compare import compare_table
from memprof.report.terminal.explain import explain_report, peak_report
from memprof.report.terminal.fit import fit_table
from memprof.report.terminal.max_batch import does_not_fit, max_batch_panel
from memprof.report.terminal.render import to_html, to_text, under_verdict
from memprof.report.terminal.sweep import sweep_table
from memprof.report.verdicts import compare_verdict, explain_verdict, max_batch_verdict, sweep_verdict
from memprof.results import row, to_json
from memprof.results.comparison import VariantResult, optimizer_states

if TYPE_CHECKING:
    import pandas
    from rich.console import RenderableType

_WIDTH = 110  # cells


class _Shown:
    """A result that prints as its command does, also at the prompt of the interpreter."""

    def rendered(self, width: int) -> RenderableType:
        """Return what rich prints, laid out for `width` cells."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return what the command prints, in 110 cells."""
        return to_text(self.rendered(_WIDTH), _WIDTH)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return to_html(self.rendered(_WIDTH), _WIDTH)


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult(_Shown):
    """The records of a sweep, in the order of the config's points."""

    records: tuple[RunRecord, ...]
    environment: Environment

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each point, with the columns of `results.csv`: bytes as ``Int64``, unknown as ``<NA>``."""
        from memprof.results.dataframe import frame

        return frame(self.records)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command as Python values."""
        return to_json(self.records, self.environment)

    def rendered(self, width: int) -> RenderableType:
        """Return the verdict and the table of the command, laid out for `width` cells."""
        return under_verdict(sweep_verdict(self.records), sweep_table(self.records, width))


@dataclass(frozen=True, kw_only=True, repr=False)
class FitsResult(_Shown):
    """Whether one batch size trains; true in a condition if it does."""

    record: RunRecord

    @property
    def fits(self) -> bool:
        """Whether the batch trains in the memory of the GPU."""
        return self.record.status is Status.OK

    def __bool__(self) -> bool:
        return self.fits

    @property
    def frame(self) -> pandas.DataFrame:
        """One row, with the columns of `results.csv`."""
        from memprof.results.dataframe import frame

        return frame([self.record])

    def to_dict(self) -> dict[str, Any]:
        """Return the row as Python values, and whether it fits."""
        return {"schema_version": SCHEMA_VERSION, "fits": self.fits, **row(self.record)}

    def rendered(self, width: int) -> RenderableType:  # noqa: ARG002  one line
        """Return the verdict."""
        return under_verdict(sweep_verdict([self.record]))


@dataclass(frozen=True, kw_only=True, repr=False)
class ExplainResult(_Shown):
    """The record of one point and what its peak consists of."""

    explained: Explained

    @property
    def explanation(self) -> Explanation | None:
        """What the peak consists of; ``None`` if nothing ran."""
        return self.explained.explanation

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each block that was allocated at the peak, the largest first."""
        return _blocks(self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command as Python values."""
        return explain_document(self.explained)

    def rendered(self, width: int) -> RenderableType:
        """Return the verdict and the table of the command, laid out for `width` cells."""
        return under_verdict(explain_verdict(self.explained), explain_report(self.explained, 2, 10, width))


@dataclass(frozen=True, kw_only=True, repr=False)
class MaxBatchResult(_Shown):
    """The largest batch that trains, and the trials that verified it."""

    answer: MaxBatch
    environment: Environment

    @property
    def largest_batch_size(self) -> int:
        """The largest batch size that trains; 0 if not even the smallest does."""
        return self.answer.largest_batch_size

    @property
    def safe_batch_size(self) -> int | None:
        """80 % of the largest, rounded down; ``None`` if the limit was not found."""
        return self.answer.safe_batch_size

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each trial, in order."""
        from memprof.results.dataframe import plain_frame

        return plain_frame(Trial, (*self.answer.trials, *self.answer.more_trials))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command as Python values."""
        return max_batch_document([self.answer], self.environment)

    def rendered(self, width: int) -> RenderableType:
        """Return the verdict and the table of the command, laid out for `width` cells."""
        table = max_batch_panel(self.answer, width) if self.largest_batch_size else does_not_fit(self.answer)
        return under_verdict(max_batch_verdict([self.answer]), table)


@dataclass(frozen=True, kw_only=True, repr=False)
class CompareResult(_Shown):
    """The variants of a comparison, the base first."""

    variants: tuple[VariantResult, ...]
    base: Mapping[str, Any]
    environment: Environment

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each variant, with the columns of `results.csv`."""
        from memprof.results.dataframe import frame

        return frame([variant.record for variant in self.variants])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command as Python values."""
        return compare_document(self.base, self.environment, self.variants)

    def rendered(self, width: int) -> RenderableType:
        """Return the verdict and the table of the command, laid out for `width` cells."""
        table = compare_table(self.variants, optimizer_states(self.variants), width)
        return under_verdict(compare_verdict(self.variants), table)


@dataclass(frozen=True, kw_only=True, repr=False)
class FitResult(_Shown):
    """The settings that were tried, and the cheapest ones with which the batch fits; true if there are any."""

    steps: tuple[Step, ...]
    memory_limit_bytes: int | None
    memory: str

    @property
    def settings(self) -> Mapping[str, str] | None:
        """The settings with which the batch fits: empty if it fits as it is, ``None`` if no set does."""
        best = cheapest_of(self.steps)
        return None if best is None else {item.key: item.value for item in merged_settings(best.savers)}

    def __bool__(self) -> bool:
        return self.settings is not None

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each set that was tried, with the columns of `results.csv`: its run without the limit."""
        from memprof.results.dataframe import frame

        return frame([step.free for step in self.steps if step.free is not None])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command as Python values; `command` is ``None``."""
        return fit_document(self.steps, self.memory_limit_bytes, None)

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return fit_table(self.steps, self.memory, width)


@dataclass(frozen=True, kw_only=True, repr=False)
class TrackResult(_Shown):
    """What the peak of a tracked region consists of."""

    explanation: Explanation
    title: str
    source: Source

    @property
    def frame(self) -> pandas.DataFrame:
        """One row for each block that was allocated at the peak, the largest first."""
        return _blocks(self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as Python values."""
        return {"schema_version": SCHEMA_VERSION, "source": self.source.value, **asdict(self.explanation)}

    def rendered(self, width: int) -> RenderableType:
        """Return the table of the command, laid out for `width` cells."""
        return peak_report(self.explanation, self.title, self.source, width)


def _blocks(explanation: Explanation | None) -> pandas.DataFrame:
    from memprof.results.dataframe import plain_frame

    blocks: Sequence[Block] = explanation.blocks if explanation else ()
    return plain_frame(Block, blocks)
