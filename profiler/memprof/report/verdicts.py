"""The answer of a command in one line: whether it fits, with how much of the memory."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.breakdown.explanation import Explained
from memprof.breakdown.module_summary import ModuleSummary
from memprof.experiments.run import SimulatedRun
from memprof.records import MaxBatch, RunRecord, Source, Status
from memprof.report.figures import ESTIMATE, PEAK, bytes_of, main_figure
from memprof.report.labels import gpu_label
from memprof.report.parallel_notes import WITHOUT_NCCL, lacks_nccl
from memprof.results.comparison import VariantResult
from memprof.results.diff import Comparison, figure_of
from memprof.results.fullest import fullest_records
from memprof.units import format_bytes, format_percent, format_share


def sweep_verdict(records: Sequence[RunRecord]) -> str:
    """Return whether all points fit, with the highest use of the GPU, or the first that does not."""
    ranks, records = len(records), fullest_records(records)  # all ranks of a point have to fit
    several = ranks > len(records)
    finished = [record for record in records if record.status is Status.OK]
    over = min((r for r in records if r.status is Status.OOM), key=lambda r: r.batch_size, default=None)
    if records[0].source is Source.ANALYTIC:
        return _analytic_verdict(records)
    if over is not None:
        ran = [r.batch_size for r in finished if r.optimizer == over.optimizer and r.batch_size < over.batch_size]
        most = f"batch {max(ran):,} ran" if ran else "no smaller batch was run"
        return f"does not fit at batch {over.batch_size:,}{_with(over, several)}: needs {need(over)}; {most}"
    if not finished:
        return f"unknown: no point finished; the first ended with {records[0].status.value}"
    top = max(finished, key=lambda record: device_bytes(record) or 0)
    unfinished = len(records) - len(finished)
    rest = f"; {unfinished:,} of {len(records):,} points failed" if unfinished else ""
    return f"fits up to batch {top.batch_size:,}{_with(top, several)}: {_share(top)}{rest}"


def explain_verdict(explained: Explained) -> str:
    """Return whether the explained run fits."""
    record = explained.record
    if record.status is Status.OOM:
        return f"does not fit at batch {record.batch_size:,}{_with(record)}: needs {need(record)}"
    if record.status is not Status.OK:
        return f"unknown: the run ended with {record.status.value}"
    return f"fits at batch {record.batch_size:,}{_with(record)}: {_share(record)}"


def max_batch_verdict(answers: Sequence[MaxBatch]) -> str:
    """Return the largest batch, of several GPUs that of the first and of the last; ``does not fit`` if none trains."""
    fitting = sorted((a for a in answers if a.largest_batch_size), key=lambda a: -a.largest_batch_size)
    if not fitting:
        return f"does not fit on {', '.join(gpu_label(answer.gpu, answer.source) for answer in answers)}"
    if len(answers) == 1:
        return f"fits: largest batch {_largest(fitting[0])}"
    ends = fitting if len(fitting) == 1 else (fitting[0], fitting[-1])
    return f"fits on {len(fitting)} of {len(answers)} GPUs: batch {' … '.join(_largest(answer) for answer in ends)}"


def compare_verdict(answers: Sequence[VariantResult]) -> str:
    """Return the variant with the smallest peak, and how much less that is than the base's."""
    best, base = smallest_variant(answers), answers[0]
    if best is None:
        return _nothing_ran(base.record)
    figure = main_figure(best.record.source)
    size, before = figure_of(best.record, figure.key), figure_of(base.record, figure.key)
    name = f"{figure.heading} {format_bytes(size)} ({best.record.source.value})"
    if best is base:
        return f"no variant is below the base: {name}"
    variant = ", ".join(f"{key}={value}" for key, value in best.settings.items() if base.settings.get(key) != value)
    if before is None or size is None:
        return f"smallest: {variant}, {name}; the base did not finish"
    percent = format_percent(100 * (size - before) / before)
    return f"smallest: {variant}, {name}: {format_bytes(size - before, signed=True)} against the base ({percent})"


def smallest_variant(answers: Sequence[VariantResult]) -> VariantResult | None:
    """Return the variant with the smallest peak (the estimate if nothing ran); ``None`` if none ran to its end."""
    sizes = [figure_of(answer.record, main_figure(answer.record.source).key) for answer in answers]
    known = [(size, place) for place, size in enumerate(sizes) if size is not None]
    return answers[min(known)[1]] if known else None


def summary_verdict(summary: ModuleSummary) -> str:
    """Return the parameters, and the estimate of one step."""
    count = summary.rows[0].parameters
    optimizer = f" with {summary.optimizer}" if summary.optimizer else ""
    step = f"one step at batch {summary.batch_size:,}{optimizer}"
    return f"{count:,} parameters; {step} takes about {format_bytes(summary.total_bytes)} (analytic estimate)"


def diff_verdict(comparison: Comparison) -> str:
    """Return how many rows grew and shrank, and the largest change."""
    both = [pair for pair in comparison.pairs if pair.before and pair.after]
    analytic = all(pair.after is not None and pair.after.source is Source.ANALYTIC for pair in both)
    figure = ESTIMATE if analytic else PEAK
    changes = [(change.bytes, pair) for pair in both if (change := pair.change(figure.key)).bytes is not None]
    known = [(size, pair) for size, pair in changes if size is not None]
    grew, shrank = sum(size > 0 for size, _ in known), sum(size < 0 for size, _ in known)
    if not grew and not shrank:
        return f"no change: {figure.heading} is the same in all {len(known):,} rows that finished in both"
    size, pair = max(known, key=lambda item: abs(item[0]))
    most = f"{format_bytes(size, signed=True)} ({format_percent(pair.change(figure.key).percent)}) for {pair.label}"
    return f"{figure.heading} grew in {grew:,} and shrank in {shrank:,} of {len(known):,} rows; most {most}"


def need(record: RunRecord) -> str:
    """Return what a point needs that ran out of memory: the estimate if it is above the GPU's memory.

    The peak that it reached is not its need, so it is not shown.
    """
    total, estimate = record.environment.gpu_total_bytes, bytes_of(record, ESTIMATE)
    gpu = gpu_label(record.environment.gpu or "the GPU", record.source)
    has = f"{gpu} has {format_bytes(total)}"
    if estimate is not None and total is not None and estimate > total:
        return f"about {format_bytes(estimate)} (estimate), {has}"
    return f"more memory than there is, {has}"


def device_bytes(record: RunRecord) -> int | None:
    """Return what the run took of the GPU at its peak: reserved memory and the CUDA context, if that is known."""
    reading = record.reading
    return None if reading is None else reading.device_bytes


def _analytic_verdict(records: Sequence[RunRecord]) -> str:
    known = [(size, record) for record in records if (size := bytes_of(record, ESTIMATE)) is not None]
    if not known:
        return "unknown: no GPU was used, and there is no estimate"
    size, top = max(known, key=lambda item: item[0])
    return f"no GPU was used: at most {format_bytes(size)} at batch {top.batch_size:,}{_with(top)} (analytic estimate)"


def _nothing_ran(base: RunRecord) -> str:
    if base.status is Status.OOM:
        return f"does not fit at batch {base.batch_size:,}: no variant ran to its end; the base needs {need(base)}"
    return f"unknown: no variant ran to its end; the base ended with {base.status.value}"


def _largest(answer: MaxBatch) -> str:
    """The largest batch with its GPU, and the memory that it takes there; a lower bound if no limit was found."""
    bound = "" if answer.verified else "≥ "
    name = f"{bound}{answer.largest_batch_size:,} on {gpu_label(answer.gpu, answer.source)}"
    total = answer.memory_limit_bytes or answer.gpu_total_bytes
    if answer.free_bytes is None or total is None:
        return name
    without = f", {WITHOUT_NCCL}" if answer.communicators and answer.nccl_bytes is None else ""
    return f"{name}, {format_share(total - answer.free_bytes, total)}{without}"


def _share(record: RunRecord) -> str:
    used, total = device_bytes(record), record.environment.gpu_total_bytes
    gpu = gpu_label(record.environment.gpu or "the GPU", record.source)
    if used is None or total is None:
        return f"peak {format_bytes(bytes_of(record, PEAK))} on {gpu}"
    without = f", {WITHOUT_NCCL}" if lacks_nccl(record) else ""
    routing = f", routing {record.reading.routing}" if record.reading is not None and record.reading.routing else ""
    return f"{format_share(used, total)} on {gpu}{routing}{without}"


def _with(record: RunRecord, several_ranks: bool = False) -> str:
    rank = f" on rank {record.rank:,}" if several_ranks and record.rank is not None else ""
    return f" with {record.optimizer}{rank}" if record.optimizer else rank


def run_verdict(run: SimulatedRun) -> str:
    """Return whether a command fits on its phantom: ``fits: 14.40 of 15.56 GiB (93 %) on t4 (phantom)``."""
    spec, peak = run.asked.spec, run.peak_bytes
    name = gpu_label(spec.key, Source.EMULATED)
    if peak is None:
        return f"no GPU memory was used on {name}"
    used = format_share(peak, spec.total_bytes)
    if run.asked.devices > 1:
        name = f"GPU {run.device_peaks_bytes.index(peak)} of {run.asked.devices} × {name}"
    if run.status is Status.OOM:
        needs = f"the command needs more than {format_bytes(run.needed_bytes)}"
        return f"does not fit: {needs}, {spec.key} has {format_bytes(spec.total_bytes)} (phantom)"
    if run.status is Status.OK:
        return f"fits: {used} on {name}{f', {WITHOUT_NCCL}' if run.communicators else ''}"
    return f"ended early ({ending(run)}): at least {used} on {name}"


def limit_verdict(run: SimulatedRun, limit_bytes: int) -> str | None:
    """Return a line about a peak above the limit of ``--max``; ``None`` if it is not above it."""
    if run.peak_bytes is None or run.peak_bytes <= limit_bytes:
        return None
    return f"above --max: device memory {format_bytes(run.peak_bytes)}, limit {format_bytes(limit_bytes)}"


def each_verdict(runs: Sequence[SimulatedRun]) -> str:
    """Return on how many GPUs a command fits: ``fits on 2 of 3 GPUs: l4, a10g``."""
    fitting = [run.asked.spec.key for run in runs if run.fits]
    return f"fits on {len(fitting)} of {len(runs)} GPUs{': ' if fitting else ''}{', '.join(fitting)}"


def ending(run: SimulatedRun) -> str:
    """Return how a command ended: ``exit status 1`` or ``signal 9``."""
    code = run.ended.returncode
    return f"signal {-code}" if code < 0 else f"exit status {code}"
