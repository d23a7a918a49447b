"""Choose the saved results for one page: the newest of each kind that match, and which were skipped and why.

Results match if `compare` accepts them as a pair: the same GPU, source and versions, and the same config except for
the keys that only select rows. A page never mixes figures of results that do not match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from memprof.breakdown.explanation import Explained
from memprof.errors import ResultError
from memprof.records import Environment, MaxBatch, RunRecord, Source
from memprof.results import Kind, Manifest, load, load_document
from memprof.results.diff import changed_keys, find_mismatches
from memprof.results.load import find_runs, read_manifest

T = TypeVar("T")
Records = tuple[RunRecord, ...]
MaxBatches = list[MaxBatch]


@dataclass(frozen=True, kw_only=True)
class Saved(Generic[T]):
    """The content of one folder, and its path."""

    path: Path
    manifest: Manifest
    content: T

    @property
    def gpus(self) -> tuple[str | None, ...]:
        """The GPUs of the result; more than one only in a max-batch result."""
        if self.manifest.kind is Kind.MAX_BATCH and isinstance(self.content, list):
            return tuple(answer.gpu for answer in self.content)
        return (self.manifest.environment.gpu,)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A saved result that is not on the page, and the reason."""

    path: Path
    what: str  # its kind in words, with the article: "a sweep"
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """The results of one page: at most one of each kind, all of which match. ``None`` if there is none."""

    name: str
    environment: Environment
    sweep: Saved[Records] | None = None
    comparison: Saved[Records] | None = None
    max_batch: Saved[MaxBatches] | None = None
    explained: Saved[Explained] | None = None
    skipped: tuple[Skipped, ...] = ()
    older: int = 0  # how many results have a newer one of their kind on the page

    @property
    def source(self) -> Source:
        """The source of every figure on the page, except for those that are called analytic."""
        return self.environment.source

    @property
    def gpus(self) -> tuple[str | None, ...]:
        """The GPUs of the page: one, unless it has only a max-batch result for several."""
        several = self.max_batch is not None and len(self.results) == 1
        return self.max_batch.gpus if several and self.max_batch else (self.environment.gpu,)

    @property
    def results(self) -> tuple[Saved[Records] | Saved[MaxBatches] | Saved[Explained], ...]:
        """The results, in the order of the page."""
        every = (self.max_batch, self.explained, self.sweep, self.comparison)
        return tuple(saved for saved in every if saved is not None)


def collect(place: str | Path, root: Path = Path("results")) -> ReportInputs:
    """Return the results for a page about `place`: the folder of one result, or a config's name (all that match).

    Raises:
        ResultError: there is no result, or it cannot be read.
    """
    # For an absolute path, both are the same folder.
    runs = list(dict.fromkeys((*find_runs(Path(place)), *find_runs(root / place))))
    if runs:
        return _collect_runs(runs)
    result = load(place, root, tuple(Kind))  # raises if there is none, and proposes the nearest name
    return _combine([_read(result.path, result.manifest)])


def _collect_runs(runs: Sequence[Path]) -> ReportInputs:
    """Take the newest readable run, then the newest of each other kind that matches those already taken."""
    taken: list[Saved[object]] = []
    skipped: list[Skipped] = []
    older = 0
    for path in runs:
        what = "a result"
        try:
            manifest = read_manifest(path)
            if any(other.manifest.kind is manifest.kind for other in taken):
                older += 1
                continue
            what = manifest.kind.noun
            saved = _read(path, manifest)
        except ResultError as error:
            skipped.append(Skipped(path=path, what=what, reason=str(error)))
            continue
        reason = next((reason for other in taken if (reason := _mismatch(saved, other))), None)
        if reason:
            skipped.append(Skipped(path=path, what=what, reason=reason))
        else:
            taken.append(saved)
    if not taken:
        raise ResultError(skipped[0].reason)
    return replace(_combine(taken), skipped=tuple(skipped), older=older)


def _read(path: Path, manifest: Manifest) -> Saved[object]:
    """Return the content of a run; raise if it is damaged or empty."""
    content: object
    if manifest.kind is Kind.MAX_BATCH:
        content = load_document(path, list[MaxBatch])
    elif manifest.kind is Kind.EXPLAIN:
        content = load_document(path, Explained)
    else:
        content = load(path, kinds=(manifest.kind,)).records
    if not content:
        raise ResultError(f"{path} holds {manifest.kind.noun} without a single row")
    return Saved(path=path, manifest=manifest, content=content)


def _mismatch(saved: Saved[object], other: Saved[object]) -> str:
    """Return how `saved` differs from `other` in what must be the same; empty if they match."""
    found = find_mismatches(saved.manifest.environment, other.manifest.environment)
    if set(saved.gpus) & set(other.gpus):  # a result for several GPUs matches a run on any of them
        found = tuple(item for item in found if item.name not in ("GPU", "GPU memory"))
    changed = changed_keys(saved.manifest.config, other.manifest.config)
    return "; ".join(f"{item.name} is {item.before}, not {item.after}" for item in (*found, *changed))


def _combine(taken: Sequence[Saved[object]]) -> ReportInputs:
    by_kind = {saved.manifest.kind: saved for saved in taken}
    first = next((saved for saved in taken if len(saved.gpus) == 1), taken[0])
    return ReportInputs(
        name=first.manifest.name,
        environment=first.manifest.environment,
        sweep=by_kind.get(Kind.SWEEP),  # type: ignore[arg-type]  # `_read` gives each kind its content
        comparison=by_kind.get(Kind.COMPARE),  # type: ignore[arg-type]
        max_batch=by_kind.get(Kind.MAX_BATCH),  # type: ignore[arg-type]
        explained=by_kind.get(Kind.EXPLAIN),  # type: ignore[arg-type]
    )
