"""The answer first: does it fit, how far does it go, what does it take at its peak, and how was that found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from memprof.records import MaxBatch, RunRecord, Source, Status
from memprof.report.labels import SOURCE_MEANINGS, gpu_label
from memprof.report.page.collect import ReportInputs
from memprof.report.terminal.max_batch import does_not_fit, proof
from memprof.units import format_bytes, format_percent


class Fits(StrEnum):
    """Whether what was asked for goes into the GPU's memory."""

    YES = "fits"
    NO = "does not fit"
    UNKNOWN = "not tried"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One figure with its name, and in a few words what it counts."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a reader who reads no further should know."""

    fits: Fits
    headline: str
    facts: tuple[Fact, ...]


def judge(inputs: ReportInputs) -> Verdict:
    """Return the verdict of what is there: of a max-batch answer if there is one, else of the runs that were tried."""
    answer, records = _answer_here(inputs), _tried_records(inputs)
    if len(inputs.gpus) > 1 and inputs.max_batch:
        fits, headline, reach = _across(inputs.max_batch.content)
    elif answer is not None:
        fits, headline, reach = _searched(answer)
    elif inputs.source is Source.ANALYTIC:
        fits, headline, reach = Fits.UNKNOWN, "No GPU took part, so whether it fits was not tried.", ()
    else:
        fits, headline, reach = _tried(records)
    explained = (inputs.explained.content.record,) if inputs.explained else ()
    facts = (*reach, *_peak(explained or records, answer), _source(inputs.source))
    return Verdict(fits=fits, headline=headline, facts=facts)


def gpu_text(inputs: ReportInputs) -> str:
    """Return the page's GPU and its memory, or the names of several, with the word phantom where they are ones."""
    if len(inputs.gpus) > 1:
        return gpu_label(", ".join(str(gpu) for gpu in inputs.gpus), inputs.source)
    memory = inputs.environment.gpu_total_bytes
    name = gpu_label(inputs.environment.gpu, inputs.source) if inputs.environment.gpu else "no GPU"
    return f"{name}, {format_bytes(memory)}" if memory else name


def what_ran(record: RunRecord) -> str:
    """Return a run in words: ``adam, batch 64``."""
    return f"{record.optimizer or record.mode}, batch {record.batch_size:,}"


def _answer_here(inputs: ReportInputs) -> MaxBatch | None:
    """The max-batch answer for the page's GPU; of several GPUs only where the other results say which it is."""
    answers = inputs.max_batch.content if inputs.max_batch else []
    if len(answers) == 1:
        return answers[0]
    here = (answer for answer in answers if answer.gpu == inputs.environment.gpu)
    return None if len(inputs.gpus) > 1 else next(here, None)


def _tried_records(inputs: ReportInputs) -> tuple[RunRecord, ...]:
    """The runs of the config as it is: a sweep's, else the one that was explained, else a comparison's base."""
    if inputs.sweep is not None:
        return inputs.sweep.content
    if inputs.explained is not None:
        return (inputs.explained.content.record,)
    return inputs.comparison.content[:1] if inputs.comparison else ()


def _searched(answer: MaxBatch) -> tuple[Fits, str, tuple[Fact, ...]]:
    if not answer.largest_batch_size:
        return Fits.NO, f"{does_not_fit(answer)}.", ()
    verb = "trains" if answer.optimizer else "runs"
    headline = f"It fits: the largest batch that {verb} is {answer.largest_batch_size:,}."
    if not answer.verified:
        headline = f"It fits: batch {answer.largest_batch_size:,} {verb}, and larger ones may."
    confirmed = "; two steps and an evaluation pass ran" if answer.confirmed is Status.OK else ""
    return (
        Fits.YES,
        headline,
        (
            Fact(name="Largest batch", value=f"{answer.largest_batch_size:,}", detail=proof(answer)),
            Fact(
                name="Safe batch",
                value=f"{answer.safe_batch_size:,}",
                detail=f"0.8 × the largest, rounded down{confirmed}",
            ),
        ),
    )


def _across(answers: Sequence[MaxBatch]) -> tuple[Fits, str, tuple[Fact, ...]]:
    fitting = sorted((answer for answer in answers if answer.largest_batch_size), key=lambda a: a.largest_batch_size)
    headline = f"It fits on {len(fitting)} of {len(answers)} GPUs."
    if not fitting:
        return Fits.NO, headline, ()
    facts = tuple(
        Fact(
            name=f"Largest batch, {answer.gpu}",
            value=f"{answer.largest_batch_size:,}",
            detail=f"safe: {answer.safe_batch_size:,}; {'the most' if answer is fitting[-1] else 'the least'} of all",
        )
        for answer in dict.fromkeys((fitting[-1], fitting[0]))
    )
    return Fits.YES, headline, facts


def _tried(records: Sequence[RunRecord]) -> tuple[Fits, str, tuple[Fact, ...]]:
    """Nobody searched for the edge: what ran is a lower bound of it, for the optimizer that goes least far."""
    ran = [record for record in records if record.status is Status.OK]
    over = min((r for r in records if r.status is Status.OOM), key=lambda r: r.batch_size, default=None)
    broken = next((record for record in records if record.status not in (Status.OK, Status.OOM)), None)
    if not ran:
        if over is None:
            return Fits.UNKNOWN, "No run got to its end, so whether it fits is not known.", ()
        return Fits.NO, f"It does not fit: batch {over.batch_size:,} ran out of memory.", ()
    furthest = {record.optimizer: record.batch_size for record in sorted(ran, key=lambda record: record.batch_size)}
    optimizer, largest = min(furthest.items(), key=lambda item: item[1])
    headline = f"It fits: every batch that was tried ran, up to {max(furthest.values()):,}."
    if over is not None:
        headline = f"It fits in part: {what_ran(over)} ran out of memory."
    elif broken is not None:
        headline = f"It fits as far as it ran: {what_ran(broken)} ended with {broken.status.value}."
    ran_with = f"the largest that ran{f' with {optimizer}' if optimizer else ''}"
    return (
        Fits.YES,
        headline,
        (
            Fact(name="Largest batch", value=f"≥ {largest:,}", detail=f"{ran_with}; the edge was not searched for"),
            Fact(name="Safe batch", value=f"≥ {largest * 8 // 10:,}", detail=f"0.8 × {ran_with}, rounded down"),
        ),
    )


def _peak(records: Sequence[RunRecord], answer: MaxBatch | None) -> tuple[Fact, ...]:
    """The highest peak among the runs that got to their end, else among all, and what the GPU held with it."""
    read = [record for record in records if record.reading is not None and record.status is Status.OK]
    read = read or [record for record in records if record.reading is not None]
    if read:
        return _read_peak(max(read, key=lambda record: record.reading.peak_allocated_bytes if record.reading else 0))
    totals = [record for record in records if record.breakdown and record.breakdown.total_bytes is not None]
    if totals:
        top = max(totals, key=lambda record: (record.breakdown and record.breakdown.total_bytes) or 0)
        total = top.breakdown.total_bytes if top.breakdown else None
        return (Fact(name="Analytic total", value=format_bytes(total), detail=f"of the textbook; {what_ran(top)}"),)
    trained = [done for done in answer.trials if done.trains] if answer else []
    if not trained or answer is None:
        return ()
    top_try = max(trained, key=lambda done: done.batch_size)
    batch = f"batch {top_try.batch_size:,}"
    return (
        Fact(name="Peak allocated", value=format_bytes(top_try.peak_allocated_bytes), detail=f"by PyTorch; {batch}"),
        _device(top_try.device_bytes, answer.gpu_total_bytes, f"reserved and the CUDA context; {batch}"),
    )


def _read_peak(record: RunRecord) -> tuple[Fact, ...]:
    assert record.reading is not None
    peak = Fact(
        name="Peak allocated" if record.status is Status.OK else "Allocated until it failed",
        value=format_bytes(record.reading.peak_allocated_bytes),
        detail=f"by PyTorch; {what_ran(record)}",
    )
    total, used = record.environment.gpu_total_bytes, record.reading.nvml_used_bytes
    return (peak,) if used is None else (peak, _device(used, total, f"NVML's figure; {what_ran(record)}"))


def _device(used_bytes: int | None, total_bytes: int | None, counts: str) -> Fact:
    share = 100 * used_bytes / total_bytes if used_bytes is not None and total_bytes else None
    of = f"{format_percent(share, signed=False)} of {format_bytes(total_bytes)}: " if total_bytes else ""
    return Fact(name="GPU memory used", value=format_bytes(used_bytes), detail=f"{of}{counts}")


def _source(source: Source) -> Fact:
    return Fact(name="Source", value=source.value, detail=SOURCE_MEANINGS[source])
