"""Tables of differences: variants against their base, one saved result against another, growth against a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.records import RunRecord, Source, Status
from memprof.report.terminal import columns
from memprof.report.terminal.layout import GAPS, Column, Grid, lay_out, shorten
from memprof.report.terminal.sweep import MEANINGS
from memprof.results.comparison import OptimizerState, VariantResult, against_base
from memprof.results.diff import Change, Comparison, Mismatch, Pair, figure_of
from memprof.results.regression import CheckResult
from memprof.units import UNKNOWN, format_bytes, format_percent

_LONG = 13  # cells; the headings of the optimizers' states stand side by side in 80 up to that
_BLOCK_BYTES = 512  # kMinBlockSize of PyTorch's c10/cuda/CUDACachingAllocator.cpp
_CATEGORIES = {
    "parameters": "parameters_bytes",
    "gradients": "gradients_bytes",
    "opt. state": "optimizer_state_bytes",
    "activations": "activations_bytes",
}


def compare_table(
    answers: Sequence[VariantResult], states: Sequence[OptimizerState], width: int = 80
) -> RenderableType:
    """Return the variants of one config against the first, the base: breakdown, peak, reserved and change.

    Where not all columns fit into `width` cells, the analytic ones stand in a second table below.
    """
    records = [answer.record for answer in answers]
    parts: list[RenderableType] = [*_title(records), Text()]
    main, below = _read_columns(answers), _analytic_columns(records)
    whole = _answers_grid(answers, [*below, *main], width)
    if whole.width(GAPS[-1]) <= width:
        parts += lay_out(whole, width)
    else:
        parts += [*lay_out(_answers_grid(answers, main, width), width), Text()]
        parts += lay_out(_answers_grid(answers, below, width, notes=False), width)
    if states:
        parts += [Text(), *lay_out(_states_grid(states, records[0]), width)]
    return Group(*parts, Text(), *_footer(records))


def diff_table(comparison: Comparison, width: int = 80) -> RenderableType:
    """Return two saved results row by row: the peak (the total where analytic) and what was reserved, then and now."""
    before, after = comparison.before, comparison.after
    parts: list[RenderableType] = [
        *_title([*before.records, *after.records]),
        *_wrapped(f"before: {before.path} ({before.manifest.started})"),
        *_wrapped(f"after:  {after.path} ({after.manifest.started})"),
    ]
    parts += _wrapped("not alike: ", comparison.mismatches, style="bold magenta")
    parts += _wrapped("changed in the config: ", comparison.config_changes)
    both = [pair for pair in comparison.pairs if pair.before and pair.after]
    parts += [Text(), *lay_out(_pairs_grid(both), width), Text()]
    alone = _only("only before", [pair for pair in comparison.pairs if pair.after is None])
    alone += _only("only after", [pair for pair in comparison.pairs if pair.before is None])
    parts += [*alone, Text()] if alone else []
    return Group(*parts, *_footer([record for pair in both for record in (pair.before, pair.after) if record]))


def check_report(result: CheckResult) -> RenderableType:
    """Return the rows that grew beyond the limit or are missing, a line each, and the sum of the check."""
    figure = "peak" if result.figure.startswith("peak") else "total"
    lines = [Text(f"  {finding.pair.label}: missing", "bold red") for finding in result.missing]
    for finding in result.regressions:
        change = finding.pair.change(result.figure)
        grew = f"{figure} {_growth(change)}" if change.bytes is not None else finding.reason
        lines.append(Text(f"  {finding.pair.label}: {grew}", "bold red"))
    lines += [Text(f"  {pair.label}: new, the baseline has no figure for it", "dim") for pair in result.new]
    total = len(result.within_limit) + len(result.regressions) + len(result.missing)
    grew = f"{len(result.regressions)} of {total} rows grew in {figure} by more than {result.limit}"
    missing = f", {len(result.missing)} missing" if result.missing else ""
    title = f"{'passed' if result.passed else 'failed'}: {grew}{missing}"
    return Group(Text(title, "bold" if result.passed else "bold red"), *lines)


def _growth(change: Change) -> str:
    before, after = format_bytes(change.before_bytes), format_bytes(change.after_bytes)
    return f"{before} to {after}, {format_bytes(change.bytes, signed=True)} ({format_percent(change.percent)})"


def _title(records: Sequence[RunRecord]) -> list[Text]:
    """The circumstances that all records share; what differs among them, a row or a line of its own says."""
    gpu = _shared(records, lambda record: record.environment.gpu)
    source = _shared(records, lambda record: record.source.value)
    phantom = " (phantom)" if source == Source.EMULATED.value else ""
    total = _shared(records, lambda record: record.environment.gpu_total_bytes)
    torch = _shared(records, lambda record: record.environment.torch_version)
    cudnn = _shared(records, lambda record: record.environment.cudnn_version)
    named = [
        _shared(records, lambda record: record.model),
        f"{gpu}{phantom}" if gpu else None,
        source,
    ]
    circumstances = [
        _shared(records, lambda record: record.precision),
        _shared(records, lambda record: record.mode),
        f"{format_bytes(total)} of memory" if isinstance(total, int) else None,
        f"torch {torch}" if torch else None,
        f"cuDNN {cudnn}" if cudnn else None,
        _shared(records, lambda record: record.environment.allocator_settings),
    ]
    titles = [" · ".join(str(part) for part in parts if part) for parts in (named, circumstances)]
    return [Text(titles[0], "bold"), Text(titles[1], "dim")]


def _shared(records: Sequence[RunRecord], value: Callable[[RunRecord], object]) -> object:
    values = {value(record) for record in records}
    return values.pop() if len(values) == 1 else None


def _answers_grid(answers: Sequence[VariantResult], shown: Sequence[Column], width: int, notes: bool = True) -> Grid:
    most = max(12, width // 3)
    stub = Column(heading="variant", cells=tuple(shorten(answer.name, most) for answer in answers))
    reasons = columns.notes([answer.record for answer in answers]) if notes else {}
    return Grid(
        stub=stub,
        columns=tuple(shown),
        sections=tuple(shorten(answer.group, width) for answer in answers),
        notes=reasons,
    )


def _analytic_columns(records: Sequence[RunRecord]) -> list[Column]:
    return [
        Column(
            heading=heading,
            group="analytic",
            cells=tuple(format_bytes(figure_of(record, figure)) for record in records),
        )
        for heading, figure in _CATEGORIES.items()
    ]


def _read_columns(answers: Sequence[VariantResult]) -> list[Column]:
    records = [answer.record for answer in answers]
    analytic = records[0].source is Source.ANALYTIC
    figure, name = ("analytic_total_bytes", "total") if analytic else ("peak_allocated_bytes", "peak")
    source, changes = records[0].source.value, [pair.change(figure) for pair in against_base(answers)]
    found = [_figures(records, figure, name, source, "bold")]
    found += [] if analytic else [_figures(records, "peak_reserved_bytes", "reserved", source)]
    found += _changes(changes[:1], f"{name} less base", blank=1, more=changes[1:])
    seconds = [record.reading.seconds_per_step if record.reading else None for record in records]
    if any(second is not None for second in seconds):
        found.append(Column(heading="s/step", group=source, cells=tuple(_seconds(second) for second in seconds)))
    largest = [record.largest_batch_size for record in records]
    if any(size is not None for size in largest):
        cells = tuple(UNKNOWN if size is None else f"{size:,}" for size in largest)
        found.append(Column(heading="batch", group="largest", cells=cells))
    if any(record.status is not Status.OK for record in records):
        found.append(columns.status(records))
    return found


def _figures(records: Sequence[RunRecord | None], figure: str, heading: str, group: str, style: str = "") -> Column:
    cells = tuple(format_bytes(figure_of(record, figure)) for record in records)
    return Column(heading=heading, group=group, cells=cells, style=style)


def _changes(changes: Sequence[Change], group: str, blank: int = 0, more: Sequence[Change] = ()) -> list[Column]:
    """The change in bytes and per cent; the first `blank` rows are what the others are measured against."""
    every = [*changes, *more]
    sizes = [format_bytes(change.bytes, signed=True) for change in every]
    percents = [format_percent(change.percent).removesuffix(" %") for change in every]
    return [
        Column(heading=heading, group=group, cells=(*("",) * blank, *cells[blank:]))
        for heading, cells in (("bytes", sizes), ("percent", percents))
    ]


def _seconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds:.4f}"


def _pairs_grid(pairs: Sequence[Pair]) -> Grid:
    """The rows that both have."""
    olds, news = [pair.before for pair in pairs], [pair.after for pair in pairs]
    analytic = all(record is not None and record.source is Source.ANALYTIC for record in news)
    figure, name = ("analytic_total_bytes", "total") if analytic else ("peak_allocated_bytes", "peak")
    shown = _then_and_now(olds, news, figure, name, pairs)
    if not analytic:
        shown += _then_and_now(olds, news, "peak_reserved_bytes", "reserved", pairs)[:2]
    ends = tuple(_ending(pair) for pair in pairs)
    if set(ends) != {Status.OK.value}:
        shown.append(Column(heading="status", cells=ends, cell_styles=columns.STATUS_STYLES))
    stub = Column(heading="batch", cells=tuple(str(pair.name.batch_size) for pair in pairs))
    sections = tuple(pair.group for pair in pairs)
    return Grid(stub=stub, columns=tuple(shown), sections=sections)


def _then_and_now(
    olds: Sequence[RunRecord | None],
    news: Sequence[RunRecord | None],
    figure: str,
    name: str,
    pairs: Sequence[Pair],
) -> list[Column]:
    then = _figures(olds, figure, "before", name)
    now = _figures(news, figure, "after", name, "bold")
    return [then, now, *_changes([pair.change(figure) for pair in pairs], f"{name}, after less before")]


def _ending(pair: Pair) -> str:
    ends = [record.status.value for record in (pair.before, pair.after) if record is not None]
    return ends[0] if len(set(ends)) == 1 else " → ".join(ends)


def _only(title: str, pairs: Sequence[Pair]) -> list[Text]:
    return [Text(f"{title}: {'; '.join(pair.label for pair in pairs)}")] if pairs else []


def _wrapped(title: str, items: Iterable[Mismatch] | None = None, style: str = "dim") -> list[Text]:
    if items is None:
        return [Text(title, style)]
    said = "; ".join(f"{item.name} {item.before} → {item.after}" for item in items)
    return [Text(title + said, style)] if said else []


def _states_grid(states: Sequence[OptimizerState], base: RunRecord) -> Grid:
    """Each optimizer's state in exact bytes, its factor beside the textbook's, and the counters' own account of it."""
    first = states[0]
    differences = tuple(f"{state.bytes - first.bytes:+,}" for state in states[1:])
    analytic = {
        "bytes": tuple(f"{state.bytes:,}" for state in states),
        f"less {first.name}" if len(first.name) < _LONG else "less first": ("", *differences),
        "x parameters": tuple(f"{state.factor:.6g}" for state in states),
        "textbook": tuple(UNKNOWN if state.expected_factor is None else f"{state.expected_factor}" for state in states),
    }
    shown = [Column(heading=heading, group="analytic", cells=cells) for heading, cells in analytic.items()]
    if any(state.observed_bytes is not None for state in states):
        read = tuple(UNKNOWN if state.observed_bytes is None else f"{state.observed_bytes:,}" for state in states)
        shown.append(Column(heading=f"in {_BLOCK_BYTES}-byte blocks", group=base.source.value, cells=read))
    stub = Column(heading="", cells=tuple(state.name for state in states))
    return Grid(stub=stub, columns=tuple(shown), sections=("optimizer state",) * len(states))


def _footer(records: Sequence[RunRecord]) -> list[Text]:
    unknown = sum(record.reading is not None and not record.reading.workspace_known for record in records)
    lines = [Text(MEANINGS[source], "dim") for source in dict.fromkeys(record.source for record in records)]
    if unknown:
        text = f"workspace: unknown in {unknown} of {len(records)} rows; cuDNN gave no size, the peak may be higher."
        lines.append(Text(text))
    return lines
