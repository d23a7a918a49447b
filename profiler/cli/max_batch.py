"""`memprof max-batch`: the largest batch size that trains, on one GPU or on several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from profiler.accumulation import find_accumulation
from profiler.batch_search import Limits, Target, find_max_batches
from profiler.cli.console import print_json, progress_bar, stderr, stdout
from profiler.config import Mode
from profiler.config_file import LoadedConfig, load
from profiler.device import Device, choose_device
from profiler.errors import ConfigError, DeviceError, ExitCode
from profiler.overrides import Override
from profiler.phantom.catalog import load_catalog
from profiler.records import SCHEMA_VERSION, Accumulation, Environment, MaxBatch, Source
from profiler.report.max_batch import does_not_fit, max_batch_panel, max_batch_table
from profiler.units import format_bytes, parse_bytes
from profiler.worker_client import WorkerClient


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of the command, as they were written."""

    gpus: Sequence[str]
    memory: str | None
    start: int
    most: int | None
    multiple_of: int
    timeout_seconds: float | None
    target_batch_size: int | None
    json: bool


@dataclass(frozen=True, kw_only=True)
class _Found:
    answers: list[MaxBatch]
    accumulation: Accumulation | None
    environment: Environment


def run(config: Path, chosen: Sequence[Override], wanted: Wanted) -> ExitCode:
    """Search, print the panel or the table, and return the exit status: 7 where not even the smallest batch fits."""
    limits = _limits(wanted)
    loaded = load(config, chosen)
    devices = _devices(wanted.gpus or [loaded.config.gpu])
    _check_memory(devices, limits)
    if len(devices) == 1:
        (stderr() if wanted.json else stdout()).print(devices[0].explanation, soft_wrap=True)
    found = _search(loaded, devices, limits, wanted)
    fits = any(answer.largest_batch_size for answer in found.answers)
    if wanted.json:
        print_json(_json(found, several=len(devices) > 1))
    elif len(devices) > 1:
        console = stdout()
        console.print(max_batch_table(found.answers, console.width))
    elif fits:
        console = stdout()
        console.print(max_batch_panel(found.answers[0], found.accumulation, console.width))
    if not fits:
        for answer in found.answers:
            stderr().print(f"memprof: {does_not_fit(answer)}", soft_wrap=True)
    return ExitCode.OK if fits else ExitCode.DOES_NOT_FIT


def _limits(wanted: Wanted) -> Limits:
    for option, value in (
        ("--start", wanted.start),
        ("--max", wanted.most),
        ("--multiple-of", wanted.multiple_of),
        ("--target-batch", wanted.target_batch_size),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"{option} {value}: must be at least 1")
    if wanted.timeout_seconds is not None and not wanted.timeout_seconds > 0:
        raise ConfigError(f"--timeout {wanted.timeout_seconds:g}: must be above 0 seconds")
    if wanted.most is not None and wanted.most < wanted.start:
        raise ConfigError(f"--max {wanted.most} is below --start {wanted.start}")
    if wanted.most is not None and wanted.most < wanted.multiple_of:
        raise ConfigError(f"--max {wanted.most} is below --multiple-of {wanted.multiple_of}, the smallest batch")
    return Limits(
        start=wanted.start,
        most=wanted.most,
        multiple_of=wanted.multiple_of,
        memory_limit_bytes=None if wanted.memory is None else _memory(wanted.memory),
        timeout_seconds=wanted.timeout_seconds,
    )


def _memory(text: str) -> int:
    try:
        limit = parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"--memory: {error}") from error
    if limit < 1:
        raise ConfigError(f"--memory {text}: must be above 0")
    return limit


def _devices(gpus: Sequence[str]) -> list[Device]:
    names = [name for gpu in gpus for name in (load_catalog() if gpu == "all" else [gpu])]
    devices = [choose_device(name) for name in dict.fromkeys(names)]
    if any(device.source is Source.ANALYTIC for device in devices):
        raise DeviceError(f"max-batch needs a GPU, real or phantom: {devices[0].explanation}")
    if len({device.source for device in devices}) > 1:
        raise ConfigError("--gpu: real GPUs and phantoms cannot stand in one table; ask for each kind on its own")
    return devices


def _check_memory(devices: Sequence[Device], limits: Limits) -> None:
    cap = limits.memory_limit_bytes
    totals = [device.total_bytes for device in devices if device.total_bytes is not None]
    if cap is not None and totals and cap > max(totals):
        most = format_bytes(max(totals))
        raise ConfigError(f"--memory {format_bytes(cap)} is more than the GPU has: {most}")


def _search(loaded: LoadedConfig, devices: Sequence[Device], limits: Limits, wanted: Wanted) -> _Found:
    config = loaded.config
    optimizer = None if config.mode is Mode.INFERENCE else config.optimizers[0]
    alone = len(devices) == 1
    targets = [Target(config=config, optimizer=optimizer, device=device, extras=alone) for device in devices]
    answers, accumulation = [], None
    with progress_bar("starting PyTorch", len(devices)) as progress, WorkerClient(loaded, devices[0]) as client:
        environment = client.environment()
        progress.update(progress.tasks[0].id, description="trying batch sizes")
        for answer in find_max_batches(client, targets, limits):
            answers.append(answer)
            progress.update(progress.tasks[0].id, advance=1)
        if wanted.target_batch_size is not None and alone:
            accumulation = find_accumulation(client, targets[0], answers[0], wanted.target_batch_size)
    order = [device.name for device in devices]
    answers.sort(key=lambda answer: order.index(answer.gpu))
    return _Found(answers=answers, accumulation=accumulation, environment=environment)


def _json(found: _Found, *, several: bool) -> dict[str, Any]:
    header = {"schema_version": SCHEMA_VERSION}
    if several:
        ranked = sorted(found.answers, key=lambda answer: -answer.largest_batch_size)
        return {**header, "gpus": [_answer_json(answer, found.environment) for answer in ranked]}
    accumulation = asdict(found.accumulation) if found.accumulation else None
    return {**header, **_answer_json(found.answers[0], found.environment), "target_batch": accumulation}


def _answer_json(answer: MaxBatch, environment: Environment) -> dict[str, Any]:
    fields = asdict(answer)
    fit = fields.pop("fit") or dict.fromkeys(("fixed_bytes", "bytes_per_sample", "residual_bytes"))
    gpu = answer.gpu if answer.source is Source.EMULATED else environment.gpu
    circumstances = replace(environment, gpu=gpu, gpu_total_bytes=answer.gpu_total_bytes)
    return {
        "largest_batch_size": fields.pop("largest_batch_size"),
        "safe_batch_size": answer.safe_batch_size,
        "batch_size_at_80_percent_memory": fields.pop("batch_size_at_80_percent_memory"),
        **fields,
        **{f"fit_{name}" if name == "residual_bytes" else name: value for name, value in fit.items()},
        "environment": asdict(circumstances),
    }
