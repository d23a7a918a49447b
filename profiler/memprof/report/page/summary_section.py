"""The answer first: whether it fits, the largest batch, the highest peak, and the source of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from memprof.records import MaxBatch, RunRecord, Source, Status, StopReason
from memprof.report.assumed import STAR, context_notes, context_star, starred_bytes
from memprof.report.figures import ESTIMATE, bound_text, bytes_of
from memprof.report.labels import SOURCE_MEANINGS, confirming_run
from memprof.report.page.collect import ReportInputs
from memprof.report.page.names import run_name
from memprof.report.terminal.max_batch import does_not_fit, proof
from memprof.results.fullest import fullest_records
from memprof.units import UNKNOWN, format_bytes, format_percent


class Fits(StrEnum):
    """Whether the config fits into the GPU's memory."""

    YES = "fits"
    NO = "does not fit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One figure with its name, and in a few words what it counts."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer for a reader who reads nothing else."""

    fits: Fits
    headline: str
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()


def summarize(inputs: ReportInputs) -> Verdict:
    """Return the verdict: from a max-batch result if there is one, otherwise from the runs."""
    answer, records = _answer_here(inputs), _runs(inputs)
    if len(inputs.gpus) > 1 and inputs.max_batch:
        verdict = _of_several_gpus(inputs.max_batch.content)
    elif answer is not None:
        verdict = _of_search(answer)
    elif inputs.source is Source.ANALYTIC:
        verdict = Verdict(fits=Fits.UNKNOWN, headline="No GPU was used, so whether it fits is unknown.")
    else:
        verdict = _of_runs(records)
    explained = (inputs.explained.content.record,) if inputs.explained else ()
    facts = (*verdict.facts, *_peak(explained or records, answer), source_fact(inputs.source))
    starred = any(fact.value.endswith(STAR) for fact in facts)
    notes = context_notes(STAR if starred else "")
    return Verdict(fits=verdict.fits, headline=verdict.headline, facts=facts, notes=notes)


def _answer_here(inputs: ReportInputs) -> MaxBatch | None:
    """The max-batch result for the page's GPU; of several answers only if the other results say which GPU it is."""
    answers = inputs.max_batch.content if inputs.max_batch else []
    if len(answers) == 1:
        return answers[0]
    here = (answer for answer in answers if answer.gpu == inputs.environment.gpu)
    return None if len(inputs.gpus) > 1 else next(here, None)


def _runs(inputs: ReportInputs) -> tuple[RunRecord, ...]:
    """The runs of the config as it is: a sweep's, otherwise the explained one, otherwise a comparison's base."""
    if inputs.sweep is not None:
        return inputs.sweep.content
    if inputs.explained is not None:
        return (inputs.explained.content.record,)
    return inputs.comparison.content[:1] if inputs.comparison else ()


def _of_search(answer: MaxBatch) -> Verdict:
    if not answer.largest_batch_size:
        unknown = answer.stopped_by is StopReason.TIME
        return Verdict(fits=Fits.UNKNOWN if unknown else Fits.NO, headline=f"{does_not_fit(answer)}.")
    verb, largest = "trains" if answer.optimizer else "runs", f"{answer.largest_batch_size:,}"
    if not answer.verified:
        fact = Fact(name="Largest batch", value=f"≥ {largest}", detail=f"{proof(answer)}; the limit was not found")
        headline = f"It fits: batch {largest} {verb}, and larger ones may."
        return Verdict(fits=Fits.YES, headline=headline, facts=(fact,))
    facts = (Fact(name="Largest batch", value=largest, detail=proof(answer)), _safe(answer))
    return Verdict(fits=Fits.YES, headline=f"It fits: the largest batch that {verb} is {largest}.", facts=facts)


def _safe(answer: MaxBatch) -> Fact:
    safe = answer.safe_batch_size
    if safe is None:
        least = "one sample" if answer.multiple_of == 1 else f"{answer.multiple_of:,}, the smallest multiple"
        detail = f"80 % of {answer.largest_batch_size:,} is less than {least}"
        return Fact(name="Safe batch", value=UNKNOWN, detail=detail)
    ran = confirming_run(answer)
    endings = {None: "", Status.OK: f"; verified with {ran}"}
    ending = endings.get(answer.confirmed, f"; {ran} ended with {answer.confirmed}")
    return Fact(name="Safe batch", value=f"{safe:,}", detail=f"80 % of the largest{ending}")


def _of_several_gpus(answers: Sequence[MaxBatch]) -> Verdict:
    fitting = sorted((answer for answer in answers if answer.largest_batch_size), key=lambda a: a.largest_batch_size)
    headline = f"It fits on {len(fitting):,} of {len(answers):,} GPUs."
    if not fitting:
        return Verdict(fits=Fits.NO, headline=headline)
    most, least = fitting[-1], fitting[0]
    facts = [_of_gpu(most, "the most of all GPUs")]
    facts += [] if least is most else [_of_gpu(least, "the least of all GPUs")]
    return Verdict(fits=Fits.YES, headline=headline, facts=tuple(facts))


def _of_gpu(answer: MaxBatch, rank: str) -> Fact:
    safe = answer.safe_batch_size
    detail = rank if safe is None else f"{rank}; safe: {safe:,}"
    bound = "" if answer.verified else "≥ "
    return Fact(name=f"Largest batch, {answer.gpu}", value=f"{bound}{answer.largest_batch_size:,}", detail=detail)


def _of_runs(records: Sequence[RunRecord]) -> Verdict:
    """No limit was searched: the runs give a lower bound, for the optimizer whose largest batch is the smallest."""
    records = fullest_records(records)
    finished = [record for record in records if record.status is Status.OK]
    over = min((r for r in records if r.status is Status.OOM), key=lambda r: r.batch_size, default=None)
    broken = next((record for record in records if record.status not in (Status.OK, Status.OOM)), None)
    if not finished:
        if over is None:
            return Verdict(fits=Fits.UNKNOWN, headline="No run finished, so whether it fits is unknown.")
        return Verdict(fits=Fits.NO, headline=f"It does not fit: batch {over.batch_size:,} ran out of memory.")
    largest = {record.optimizer: record.batch_size for record in sorted(finished, key=lambda r: r.batch_size)}
    headline = f"It fits: all tested batch sizes ran, up to {max(largest.values()):,}."
    if over is not None:
        headline = f"It fits in part: {run_name(over)} ran out of memory."
    elif broken is not None:
        headline = f"It fits as far as it ran: {run_name(broken)} ended with {broken.status.value}."
    optimizer, size = min(largest.items(), key=lambda item: item[1])
    ran = f"the largest that ran{f' with {optimizer}' if optimizer else ''}"
    fact = Fact(name="Largest batch", value=f"≥ {size:,}", detail=f"{ran}; limit not searched, run max-batch")
    return Verdict(fits=Fits.YES, headline=headline, facts=(fact,))


def _peak(records: Sequence[RunRecord], answer: MaxBatch | None) -> tuple[Fact, ...]:
    """The highest peak of the runs that finished, otherwise of all, and the GPU memory that it used."""
    read = [record for record in records if record.reading is not None and record.status is Status.OK]
    read = read or [record for record in records if record.reading is not None]
    if read:
        return _of_reading(max(read, key=lambda record: record.reading.peak_allocated_bytes if record.reading else 0))
    estimated = [record for record in records if bytes_of(record, ESTIMATE) is not None]
    if estimated:
        top = max(estimated, key=lambda record: bytes_of(record, ESTIMATE) or 0)
        detail = f"from shapes and dtypes; {run_name(top)}"
        return (Fact(name="Analytic estimate", value=format_bytes(bytes_of(top, ESTIMATE)), detail=detail),)
    trained = [done for done in answer.trials if done.trains] if answer else []
    if not trained or answer is None:
        return ()
    trial = max(trained, key=lambda done: done.batch_size)
    batch = f"batch {trial.batch_size:,}"
    return (
        Fact(name="Peak allocated", value=format_bytes(trial.peak_allocated_bytes), detail=f"by PyTorch; {batch}"),
        device_fact(
            trial.device_bytes,
            answer.gpu_total_bytes,
            f"reserved and the CUDA context; {batch}",
            context_star(answer.gpu, answer.source),
        ),
    )


def _of_reading(record: RunRecord) -> tuple[Fact, ...]:
    """The peak of a run and its GPU memory; of a run that did not finish, what it reached is only a lower bound."""
    assert record.reading is not None
    finished = record.status is Status.OK
    until = "" if finished else f" until it ended with {record.status.value}"
    peak = bound_text(record.reading.peak_allocated_bytes, record.status)
    fact = Fact(name="Peak allocated", value=peak, detail=f"by PyTorch{until}; {run_name(record)}")
    total, used = record.environment.gpu_total_bytes, record.reading.nvml_used_bytes
    if used is None:
        return (fact,)
    star = context_star(record.environment.gpu, record.source)
    if finished:
        return fact, device_fact(used, total, f"reported by NVML; {run_name(record)}", star)
    detail = f"reported by NVML{until}; the GPU has {format_bytes(total)}"
    return fact, Fact(name="GPU memory used", value=bound_text(used, record.status) + star, detail=detail)


def device_fact(used_bytes: int | None, total_bytes: int | None, counts: str, star: str = "") -> Fact:
    """Return the GPU memory that was used, and its share of all; the `star` of an assumed context is at a known one."""
    share = 100 * used_bytes / total_bytes if used_bytes is not None and total_bytes else None
    of = f"{format_percent(share, signed=False)} of {format_bytes(total_bytes)}, " if total_bytes else ""
    return Fact(name="GPU memory used", value=starred_bytes(used_bytes, star), detail=f"{of}{counts}")


def source_fact(source: Source) -> Fact:
    """Return where the figures come from."""
    return Fact(name="Source", value=source.value, detail=SOURCE_MEANINGS[source])
