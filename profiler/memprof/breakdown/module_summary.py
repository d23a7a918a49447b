"""The data model of a module summary: the analytic estimate of each submodule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memprof.breakdown.explanation import Category
from memprof.records import Source

Shape = tuple[int, ...]
KnownParts = Mapping[str, int | None]  # bytes by category; None if model or optimizer cannot run without values

SUMMARY_CATEGORIES = (
    Category.PARAMETERS,
    Category.BUFFERS,
    Category.GRADIENTS,
    Category.OPTIMIZER_STATE,
    Category.INPUT,
    Category.ACTIVATIONS,
)


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One submodule. Its counts and `parts` include its own submodules; each tensor counts once.

    A tensor that several modules share counts for the one that registers it first.
    """

    path: str  # "" for the model itself
    type: str
    calls: tuple[tuple[Shape, ...], ...]  # for each forward pass, the shapes of the tensors that it returned
    parameters: int  # the number of elements
    trainable_parameters: int  # those that have a gradient
    parts: KnownParts
    shared: Mapping[str, str]  # its parameters and buffers that count elsewhere, with their names there
    same_as: str | None = None  # the path at which this module is registered first

    @property
    def depth(self) -> int:
        """0 for the model itself."""
        return self.path.count(".") + 1 if self.path else 0

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """The shapes of its last forward pass, with the batch dimension; empty if it did not run."""
        return self.calls[-1] if self.calls else ()


@dataclass(frozen=True, kw_only=True)
class ModuleSummary:
    """The modules of a model at one point of a sweep, in order of registration, the model itself first.

    The first row and `outside_parts` (the batch, and what the loss saves) add up to the breakdown of the point.
    """

    model: str
    optimizer: str | None  # None in inference
    precision: str
    mode: str
    batch_size: int
    optimizer_in_backward: bool  # if true, only the largest gradient counts
    rows: tuple[SummaryRow, ...]
    outside_parts: KnownParts
    source: Source = Source.ANALYTIC

    @property
    def totals(self) -> KnownParts:
        """The bytes of each category over modules, batch and loss."""
        parts = (self.rows[0].parts, self.outside_parts)
        return {category: add(*(part.get(category, 0) for part in parts)) for category in SUMMARY_CATEGORIES}

    @property
    def total_bytes(self) -> int | None:
        """The sum over all categories, which is the breakdown's total."""
        return add(*self.totals.values())


def add(*amounts: int | None) -> int | None:
    """Return the sum of bytes, or ``None`` if one of them is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
