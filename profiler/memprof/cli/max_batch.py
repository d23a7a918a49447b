"""`memprof max-batch`: find the largest batch size that trains, on one GPU or on several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memprof import results
from memprof.cli import next_command, options
from memprof.cli.console import (
    ProgressBar,
    note,
    print_json,
    print_next,
    print_verdict,
    progress_bar,
    stderr,
    stdout,
)
from memprof.cli.engine import engine_options
from memprof.cli.generic import gpu_of_size
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides, separated
from memprof.cli.require import required_source
from memprof.cli.saving import make_manifest, print_place
from memprof.cli.slow_precision import note_slow_precision
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Override
from memprof.config.schema import Mode
from memprof.engines.choose import choose_engine_device
from memprof.engines.options import LOCAL, EngineKind, EngineOptions
from memprof.engines.protocol import Engine
from memprof.errors import ConfigError, DeviceError, ExitCode, ResultError
from memprof.experiments.max_batch.accumulation import find_accumulations
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import open_engine_session
from memprof.gpus.catalog import load_catalog
from memprof.gpus.select import Device, runnable_gpus
from memprof.records import Environment, MaxBatch, Source
from memprof.report.documents import max_batch_document
from memprof.report.terminal.max_batch import does_not_fit, max_batch_panel, max_batch_table
from memprof.report.verdicts import max_batch_verdict
from memprof.results import Kind, Result, save_document
from memprof.units import format_bytes, parse_bytes

EXAMPLES = """\
memprof max-batch torchvision:resnet50 --gpu t4
memprof max-batch net.py:build --input 3x64x64 --classes 10 --gpu t4
memprof max-batch configs/resnet50.yaml --gpu t4 --gpu rtx-4090 --optimizer adamw
memprof max-batch configs/vit_b_16.yaml --gpu all --target-batch 4096"""


@dataclass(frozen=True, kw_only=True)
class MaxBatchOptions:
    """The options of the command, as they were written."""

    gpus: Sequence[str]
    memory: str | None
    start: int | None
    most: int | None
    multiple_of: int
    timeout_seconds: float | None
    target_batch_size: int | None
    folder: Path
    json: bool
    required: Source | None = None
    where: EngineOptions = LOCAL


@takes_model
def command(
    config: options.ConfigFile,
    gpu: options.GpuNames = None,
    memory: options.MemoryLimit = None,
    start: options.StartBatch = None,
    max_: options.MaxBatch = None,
    multiple_of: options.MultipleOf = 1,
    timeout: options.SearchTimeout = None,
    target_batch: options.TargetBatch = None,
    optimizer: options.Optimizer = None,
    set_: options.Settings = None,
    require: options.RequiredSource = None,
    engine: options.Engine = None,
    address: options.Address = None,
    runners: options.Runners = None,
    output_dir: options.OutputDir = Path("results"),
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Find the largest batch."""
    wanted = MaxBatchOptions(
        gpus=separated(gpu or ()),
        memory=memory,
        start=start,
        most=max_,
        multiple_of=multiple_of,
        timeout_seconds=timeout,
        target_batch_size=target_batch,
        folder=output_dir,
        json=json,
        required=required_source(require),
        where=engine_options(engine, address, runners, output_dir),
    )
    return run(config, overrides(optimizers=[optimizer], settings=set_, model=model), wanted)


def run(config: Path, chosen: Sequence[Override], wanted: MaxBatchOptions) -> ExitCode:
    """Search, save and print the result; return the exit status: 7 if not even the smallest batch fits."""
    limits = _limits(wanted)
    if wanted.where.kind is EngineKind.SLURM:
        raise ConfigError(
            "--engine slurm: a search tries one batch after another, and a job would wait for each; use ray"
        )
    loaded = load(config, chosen)
    gpus = wanted.gpus or [loaded.config.gpu]
    if (generic := gpu_of_size(wanted.memory, gpus)) is not None:
        gpus, limits = [generic], replace(limits, memory_limit_bytes=None)
    devices = _devices(gpus, wanted)
    _check_memory(devices, limits)
    results.check_output_folder(wanted.folder)
    if len(devices) == 1:
        note(devices[0].explanation)
    note_inferred(loaded, loaded.config.optimizers[:1])
    note_slow_precision([loaded.config], devices)
    parts = len(devices) if len(devices) > 1 else None
    with (
        progress_bar("starting PyTorch", parts) as progress,
        open_engine_session([loaded], devices[0], wanted.where, len(devices), note, progress.on_step) as session,
    ):
        search = _Search(engine=session.engine, limits=limits, wanted=wanted, progress=progress)
        answers = search.run(_targets(loaded, devices))
    manifest = make_manifest(Kind.MAX_BATCH, loaded, session.environment, len(devices))
    try:
        saved = results.load(save_document(wanted.folder, manifest, answers), kinds=(Kind.MAX_BATCH,))
    except ResultError:  # the search took time, and a full disk must not lose its answer
        _print_answers(answers, session.environment, wanted.json, announced=search.has_announced)
        raise
    show(saved, wanted.json, announced=search.has_announced)
    return ExitCode.OK if any(answer.largest_batch_size for answer in answers) else ExitCode.DOES_NOT_FIT


def show(saved: Result, json: bool, *, announced: bool = False) -> None:
    """Print a saved result: a panel for one GPU, a table for several; if nothing fits, a line for each on stderr.

    `announced` says that the verdict has been printed.
    """
    answers = results.load_document(saved.path, list[MaxBatch])
    _print_answers(answers, saved.manifest.environment, json, announced=announced)
    if not json:
        print_place(saved)
        print_next(next_command.after_max_batch(saved, answers))


def _print_answers(answers: Sequence[MaxBatch], environment: Environment, json: bool, *, announced: bool) -> None:
    fits = any(answer.largest_batch_size for answer in answers)
    console = stdout()
    if json:
        print_json(max_batch_document(answers, environment))
    else:
        if not announced:
            print_verdict(max_batch_verdict(answers))
        if len(answers) > 1:
            console.print(max_batch_table(answers, console.width))
        elif fits:
            console.print(max_batch_panel(answers[0], console.width))
    if not fits:
        for answer in answers:
            stderr().print(f"memprof: {does_not_fit(answer)}", soft_wrap=True)


def _limits(wanted: MaxBatchOptions) -> Limits:
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
    if wanted.most is not None and wanted.start is not None and wanted.most < wanted.start:
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


def _devices(gpus: Sequence[str], wanted: MaxBatchOptions) -> list[Device]:
    names = [name for gpu in gpus for name in (_all_gpus() if gpu == "all" else [gpu])]
    devices = [choose_engine_device(name, wanted.required, wanted.where) for name in dict.fromkeys(names)]
    if any(device.source is Source.ANALYTIC for device in devices):
        raise DeviceError(f"max-batch needs a GPU, real or simulated: {devices[0].explanation}")
    if len({device.source for device in devices}) > 1:
        raise ConfigError("--gpu: real and simulated GPUs cannot be in one table; run each kind separately")
    if len(devices) > 1 and devices[0].source is Source.MEASURED and wanted.where.kind is not EngineKind.LOCAL:
        raise ConfigError(f"--gpu: --engine {wanted.where.kind} measures on one kind of real GPU at a time; name one")
    return devices


def _all_gpus() -> list[str]:
    """The catalog without the GPUs for which the installed PyTorch has no kernels; stderr names those."""
    names = runnable_gpus()
    left_out = [name for name in load_catalog() if name not in names]
    if left_out:
        stderr().print(f"Skipped, since this PyTorch has no kernels for them: {', '.join(left_out)}", soft_wrap=True)
    return names


def _check_memory(devices: Sequence[Device], limits: Limits) -> None:
    cap = limits.memory_limit_bytes
    totals = [device.total_bytes for device in devices if device.total_bytes is not None]
    if cap is not None and totals and cap > max(totals):
        most = format_bytes(max(totals))
        raise ConfigError(f"--memory {format_bytes(cap)} is more than the GPU has: {most}")


def _targets(loaded: LoadedConfig, devices: Sequence[Device]) -> list[Target]:
    config = loaded.config
    optimizer = None if config.mode is Mode.INFERENCE else config.optimizers[0]
    return [Target(config=config, optimizer=optimizer, device=device) for device in devices]


@dataclass(kw_only=True)
class _Search:
    """The search with its progress. For one GPU it prints the verdict as soon as the limit is proven."""

    engine: Engine
    limits: Limits
    wanted: MaxBatchOptions
    progress: ProgressBar
    has_announced: bool = False

    def run(self, targets: Sequence[Target]) -> list[MaxBatch]:
        """Return the answer of each target, in their order."""
        self.progress.describe("trying batch sizes")
        announce = self._announce if len(targets) == 1 and not self.wanted.json else None
        found = {}
        for answer in find_max_batches(self.engine, targets, self.limits, announce, self._describe):
            found[answer.gpu] = answer
            self.progress.advance()
        answers = [found[target.device.name] for target in targets]
        if (target_batch_size := self.wanted.target_batch_size) is None:
            return answers
        self.progress.describe(f"accumulating {target_batch_size:,}")
        ways = find_accumulations(self.engine, targets, answers, target_batch_size)
        return [replace(answer, target_batch=way) for answer, way in zip(answers, ways, strict=True)]

    def _describe(self, gpu: str, batch_size: int) -> None:
        self.progress.describe(f"{gpu}: trying batch {batch_size:,}")

    def _announce(self, answer: MaxBatch) -> None:
        print_verdict(max_batch_verdict([answer]))
        self.has_announced = True
