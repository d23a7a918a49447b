"""Which saved results belong on one page: the newest of each kind that are alike, and which were left out and why.

Alike is what `compare` calls so: the same GPU, source and versions, and the same config but for the keys that only pick
rows. Figures of unlike runs never stand on one page.
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
    """What one folder holds, and the folder."""

    path: Path
    manifest: Manifest
    content: T

    @property
    def gpus(self) -> tuple[str | None, ...]:
        """The GPUs that it is about; more than one only in a max-batch answer."""
        if self.manifest.kind is Kind.MAX_BATCH and isinstance(self.content, list):
            return tuple(answer.gpu for answer in self.content)
        return (self.manifest.environment.gpu,)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A saved result that is not on the page, and why not."""

    path: Path
    what: str  # its kind in words, with the article
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What one page is made of: at most one result of each kind, all alike. ``None`` where there is none."""

    name: str
    environment: Environment
    sweep: Saved[Records] | None = None
    comparison: Saved[Records] | None = None
    max_batch: Saved[MaxBatches] | None = None
    explained: Saved[Explained] | None = None
    skipped: tuple[Skipped, ...] = ()
    older: int = 0  # results that a newer one of their kind stands for

    @property
    def source(self) -> Source:
        """Where every figure of the page comes from, but for those that are called analytic."""
        return self.environment.source

    @property
    def gpus(self) -> tuple[str | None, ...]:
        """The GPUs that the page is about: one, unless it has nothing but a max-batch answer for several."""
        several = self.max_batch is not None and len(self.results) == 1
        return self.max_batch.gpus if several and self.max_batch else (self.environment.gpu,)

    @property
    def results(self) -> tuple[Saved[Records] | Saved[MaxBatches] | Saved[Explained], ...]:
        """Those that are there, in the order of the page."""
        every = (self.max_batch, self.explained, self.sweep, self.comparison)
        return tuple(saved for saved in every if saved is not None)


def collect(place: str | Path, root: Path = Path("results")) -> ReportInputs:
    """Return what belongs on a page about `place`: a result's folder (it alone), or a config's name (all alike).

    Raises:
        ResultError: there is none, or what `place` names cannot be read.
    """
    runs = [*find_runs(Path(place)), *find_runs(root / place)]
    if runs:
        return _gather_runs(runs)
    result = load(place, root, tuple(Kind))  # refuses what is not there, with the nearest name
    return _put_together([_read(result.path, result.manifest)])


def _gather_runs(runs: Sequence[Path]) -> ReportInputs:
    """Take the newest run that is whole, then the newest of each other kind that is alike with those taken."""
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
        reason = next((reason for other in taken if (reason := _unlike(saved, other))), None)
        if reason:
            skipped.append(Skipped(path=path, what=what, reason=reason))
        else:
            taken.append(saved)
    if not taken:
        raise ResultError(skipped[0].reason)
    return replace(_put_together(taken), skipped=tuple(skipped), older=older)


def _read(path: Path, manifest: Manifest) -> Saved[object]:
    """Return the content of a run, or refuse what is damaged or empty."""
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


def _unlike(saved: Saved[object], other: Saved[object]) -> str:
    """Return in what `saved` differs from `other` that must be the same; empty where they are alike."""
    found = find_mismatches(saved.manifest.environment, other.manifest.environment)
    if set(saved.gpus) & set(other.gpus):  # an answer for several GPUs is alike with what ran on any of them
        found = tuple(item for item in found if item.name not in ("GPU", "GPU memory"))
    changed = changed_keys(saved.manifest.config, other.manifest.config)
    return "; ".join(f"{item.name} is {item.before}, not {item.after}" for item in (*found, *changed))


def _put_together(taken: Sequence[Saved[object]]) -> ReportInputs:
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
