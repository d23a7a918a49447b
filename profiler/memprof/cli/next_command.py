"""The last line of an answer: the command that is likely to be wanted next, made of the arguments of this one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memprof.breakdown.explanation import Explained
from memprof.breakdown.module_summary import ModuleSummary
from memprof.cli.app import COMMANDS, load_command
from memprof.cli.overriding import separated
from memprof.errors import ConfigError
from memprof.experiments.run import SimulatedRun, larger_gpus
from memprof.records import MaxBatch, RunRecord, Source, Status, StopReason
from memprof.report.verdicts import smallest_variant
from memprof.results import Result
from memprof.results.comparison import VariantResult

_SNAPSHOT = "peak.pickle"
# Options of one question that another question does not need.
_DROPPED = ("--json", "--force", "--start", "--max", "--timeout", "--snapshot", "--depth", "--blocks", "--help")
_LISTS = ("--gpu", "--batch-size", "--optimizer")  # several values with commas
Changes = Mapping[str, str | None]  # an option with another value, or ``None`` without it


def after_sweep(saved: Result) -> str | None:
    """Return what follows a sweep: settings for the first batch that does not fit, else the largest batch."""
    first = min((r for r in saved.records if r.status is Status.OOM), key=lambda r: r.batch_size, default=None)
    if first is not None:
        return follow(saved.manifest.command, "fit", _point(first))
    if saved.manifest.environment.source is Source.ANALYTIC:
        return "memprof doctor"
    return follow(saved.manifest.command, "max-batch", {})


def after_max_batch(saved: Result, answers: Sequence[MaxBatch]) -> str | None:
    """Return what follows a search: what the peak consists of, or settings with which the smallest batch fits."""
    command = saved.manifest.command
    best = max(answers, key=lambda answer: answer.largest_batch_size)
    typed = _typed(command[1], command[2:]) if len(command) > 1 and command[1] in COMMANDS else {}
    # Of several GPUs the best; and the one that --memory alone stands for.
    unnamed = len(answers) > 1 or ("--memory" in typed and "--gpu" not in typed)
    named: Changes = {"--gpu": best.gpu} if unnamed and best.source is Source.EMULATED else {}
    if not best.largest_batch_size:
        return follow(command, "fit", {**named, "--batch-size": str(best.multiple_of)})
    if best.stopped_by is StopReason.MAX:
        return follow(command, "max-batch", {})
    return follow(command, "explain", {**named, "--batch-size": str(best.largest_batch_size)})


def after_explain(saved: Result, explained: Explained) -> str | None:
    """Return what follows an explanation: settings with which the batch fits, or the largest batch."""
    if explained.record.status is Status.OOM:
        return follow(saved.manifest.command, "fit", _point(explained.record))
    return follow(saved.manifest.command, "max-batch", {"--batch-size": None})


def after_compare(saved: Result, answers: Sequence[VariantResult]) -> str | None:
    """Return what follows a comparison: what the peak of the smallest variant consists of."""
    best = smallest_variant(answers)
    if best is None or best.record.source is Source.ANALYTIC:
        return None
    base = answers[0].settings
    changed = [f"{key}={value}" for key, value in best.settings.items() if base.get(key) != value]
    return follow(saved.manifest.command, "explain", {}, changed)


def after_summary(command: Sequence[str], summary: ModuleSummary) -> str | None:
    """Return what follows a summary: the same point on a GPU."""
    return follow(command, "explain", {"--batch-size": str(summary.batch_size)})


def follow(command: Sequence[str], name: str, changes: Changes, settings: Sequence[str] = ()) -> str | None:
    """Return the command `name` with the arguments of `command` that it understands, changed as `changes` says.

    ``None`` if `command` is not one of memprof's, as in a program that calls it, or has several configs. `settings` are
    added with ``--set``.
    """
    if len(command) < 2 or command[1] not in COMMANDS:
        return None
    typed = _typed(command[1], command[2:])
    words = ["memprof", name]
    for parameter in load_command(name).params:
        if parameter.param_type_name == "argument":
            values = typed.get(parameter.name, [])
            if len(values) > 1 and parameter.nargs == 1:  # `sweep` takes several configs
                return None
            words += values
        elif (option := max(parameter.opts, key=len)) not in _DROPPED:
            values = typed.get(option, [])
            if option in changes:
                values = [value] if (value := changes[option]) is not None else []
            if len(values) == 1 or parameter.multiple:
                words += [word for value in values for word in ((option,) if parameter.is_flag else (option, value))]
    words += [word for setting in settings for word in ("--set", setting)]
    return shlex.join(words)


def _typed(name: str, arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return the arguments that were typed by name, and the options by their long form; flags have one value."""
    command: Any = load_command(name)
    try:
        context = command.make_context(name, list(arguments), resilient_parsing=True)
    except (ConfigError, ValueError):
        return {}
    found: dict[str, list[str]] = {}
    for parameter in command.params:
        source = context.get_parameter_source(parameter.name)
        value = context.params.get(parameter.name)
        if source is None or source.name != "COMMANDLINE" or value is None:
            continue
        key = parameter.name if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
        values = [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
        found[key] = separated(values) if key in _LISTS else values
    return found


def _point(record: RunRecord) -> Changes:
    optimizer = {"--optimizer": record.optimizer} if record.optimizer else {}
    return {**optimizer, "--batch-size": str(record.batch_size)}


def after_run(run: SimulatedRun, snapshot: Path | None) -> str | None:
    """Return what follows a run: larger GPUs if it did not fit, else what its peak consists of."""
    spec = run.asked.spec
    if run.peak_bytes is None:
        return None
    if run.status is Status.OOM and run.needed_bytes is not None:
        larger = larger_gpus(spec, run.needed_bytes)
        return _run_words(["--fits", ",".join(larger), *_rank(run)], run.asked.command) if larger else None
    if snapshot is not None:
        return shlex.join(["memprof", "explain", str(snapshot)]) if run.ended.snapshot_pid else None
    gpu = f"{spec.key}:{run.asked.devices}" if run.asked.devices > 1 else spec.key
    return _run_words(["--gpu", gpu, *_rank(run), "--snapshot", _SNAPSHOT], run.asked.command)


def _rank(run: SimulatedRun) -> list[str]:
    one = run.asked.one_rank
    return [] if one is None else ["--rank", str(one.rank), "--world-size", str(one.world_size)]


def after_runs(runs: Sequence[SimulatedRun]) -> str | None:
    """Return what follows runs on several GPUs: the smallest on which the command fits, else larger ones."""
    fitting = [run for run in runs if run.fits]
    if fitting:
        smallest = min(fitting, key=lambda run: run.asked.spec.total_bytes)
        options = ["--gpu", smallest.asked.spec.key, *_rank(smallest), "--snapshot", _SNAPSHOT]
        return _run_words(options, smallest.asked.command)
    refused = [run for run in runs if run.status is Status.OOM]
    return after_run(max(refused, key=lambda run: run.asked.spec.total_bytes), None) if refused else None


def _run_words(options: Sequence[str], command: Sequence[str]) -> str:
    return shlex.join(["memprof", "run", *options, "--", *command])
