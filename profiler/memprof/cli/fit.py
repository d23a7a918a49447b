"""`memprof fit`: find the cheapest settings that make a batch fit into a memory limit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memprof.cli import fit_gpus, options
from memprof.cli.console import note, print_json, print_next, progress_bar, stdout
from memprof.cli.generic import gpu_of_size
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.next_command import follow
from memprof.cli.overriding import overrides
from memprof.cli.require import required_source
from memprof.cli.slow_precision import note_slow_precision
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.config.parallel import ParallelConfig
from memprof.config.schema import Mode, SweepConfig
from memprof.config.variants import Setting, load_variant
from memprof.errors import ConfigError, DeviceError, ExitCode
from memprof.experiments.compare import VariantRuns
from memprof.experiments.fit import Fit, FitRequest, Step, cheapest_of, savers_for
from memprof.experiments.memory_savers import merged_settings
from memprof.experiments.session import open_session
from memprof.gpus.select import choose_device
from memprof.records import Source
from memprof.report.documents import fit_document
from memprof.report.terminal.fit import fit_table
from memprof.units import format_bytes, parse_bytes

EXAMPLES = """\
memprof fit torchvision:vit_b_16 --gpu t4 --batch-size 128
memprof fit configs/vit_b_16.yaml --gpu t4 --memory 8GiB
memprof fit configs/resnet50.yaml --gpu rtx-4090 --batch-size 512
memprof fit configs/hub/llama_3.1_8b.yaml --gpu h100-80gb --batch-size 1 --gpus fewest"""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What is to fit: a config file, the options laid over it, the memory as it was typed, and the required source."""

    path: Path
    overrides: Sequence[Override]
    memory: str | None
    required: Source | None = None
    same_training: bool = False

    def loaded(self, settings: Sequence[Setting] = ()) -> LoadedConfig:
        """Return the config with `settings` applied, for its first optimizer and, by default, its largest batch."""
        if not any(setting.key == "batch_size" for setting in settings):
            largest = max(load(self.path, self.overrides).config.list_batch_sizes())
            settings = (*settings, Setting(key="batch_size", value=str(largest)))
        return load_variant(self.path, self.overrides, settings, Flag.SAVER)

    def config(self, settings: Sequence[Setting]) -> SweepConfig:
        """Return the config of `loaded`."""
        return self.loaded(settings).config


@takes_model
def command(
    config: options.ConfigFile,
    memory: options.FitMemory = None,
    batch_size: options.LargestBatchSize = None,
    gpu: options.GpuName = None,
    set_: options.Settings = None,
    same_training: options.SameTraining = False,
    gpus: options.FitGpus = None,
    require: options.RequiredSource = None,
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Find settings that make a batch fit."""
    chosen = overrides(gpu=gpu, batch_sizes=[batch_size], settings=set_, model=model)
    wanted = FitOptions(
        path=config,
        overrides=chosen,
        memory=memory,
        required=required_source(require),
        same_training=same_training,
    )
    if gpus is not None:
        return _run_gpus(wanted, gpus, json)
    return run(_with_gpu(wanted), json)


def _run_gpus(wanted: FitOptions, gpus: str, json: bool) -> ExitCode:
    if wanted.memory is not None:
        raise ConfigError(f"--gpus {gpus:.20}: --memory limits one GPU; leave it out")
    loaded = wanted.loaded()
    # Each mesh replaces the configured one; a model for one rank of many is built without memory.
    parallel = loaded.config.parallel or ParallelConfig()
    loaded = replace(loaded, config=loaded.config.model_copy(update={"parallel": parallel}))
    return fit_gpus.run(loaded, choose_device(loaded.config.gpu, wanted.required), gpus, json)


def run(wanted: FitOptions, json: bool) -> ExitCode:
    """Try settings, print each step and the set that fits; return `ExitCode.DOES_NOT_FIT` if none does."""
    base = wanted.loaded()
    limit_bytes = _parsed(wanted.memory)
    device = choose_device(base.config.gpu, wanted.required)
    note(device.explanation)
    note_inferred(load(wanted.path, wanted.overrides), base.config.points())
    note_slow_precision([base.config], [device])
    with progress_bar("starting PyTorch", None) as progress, open_session(base, device, progress.on_step) as session:
        runs = VariantRuns(session)
        memory = _checked(runs, limit_bytes)
        savers = savers_for(session, same_training=wanted.same_training)
        asked = FitRequest(config_of=wanted.config, savers=savers, memory_bytes=limit_bytes)
        steps = []
        for step in Fit(runs, asked).steps():
            steps.append(step)
            progress.describe(f"{device.name}: tried {step.added}")
    best = cheapest_of(steps)
    command = _command(wanted, best, base.config) if best else None
    if json:
        print_json(fit_document(steps, limit_bytes, command))
    else:
        console = stdout()
        console.print(fit_table(steps, memory, console.width))
        print_next(command or follow(("memprof", *sys.argv[1:]), "max-batch", {"--batch-size": None, "--gpu": "all"}))
    return ExitCode.OK if best else ExitCode.DOES_NOT_FIT


def _with_gpu(wanted: FitOptions) -> FitOptions:
    """Return the options with the generic GPU that `--memory` stands for if no GPU is named."""
    _parsed(wanted.memory)
    generic = gpu_of_size(wanted.memory, [load(wanted.path, wanted.overrides).config.gpu])
    if generic is None:
        return wanted
    return replace(wanted, memory=None, overrides=(*wanted.overrides, Override(flag=Flag.GPU, text=generic)))


def _parsed(memory: str | None) -> int | None:
    try:
        size = parse_bytes(memory) if memory is not None else None
    except ValueError as error:
        raise ConfigError(f"--memory {memory}: {error}") from None
    if size == 0:
        raise ConfigError(f"--memory {memory}: must be above 0; write for example 8GiB")
    return size


def _checked(runs: VariantRuns, limit_bytes: int | None) -> str:
    """Return the memory in words; more than the GPU has is refused."""
    total = runs.environment.gpu_total_bytes
    if runs.device.source is Source.ANALYTIC or total is None:
        raise DeviceError(f"fit needs a GPU, real or simulated, to verify that a batch fits: {runs.device.explanation}")
    if limit_bytes is None:
        return f"the GPU's {format_bytes(total)}"
    if limit_bytes > total:
        has = f"{runs.environment.gpu} has {format_bytes(total)}"
        raise ConfigError(
            f"--memory {format_bytes(limit_bytes)}: {has}; choose a larger GPU with --gpu or lower --memory"
        )
    return format_bytes(limit_bytes)


def _command(wanted: FitOptions, best: Step, config: SweepConfig) -> str:
    """Return the command that runs the set that fits."""
    typed = [item for item in wanted.overrides if item.flag not in (Flag.BATCH_SIZE, Flag.OPTIMIZER)]
    kept = [item for item in typed if not item.text.startswith(("batch_size=", "batch_sizes="))]
    settings = {setting.key: setting.value for setting in merged_settings(best.savers)}
    size = settings.pop("batch_size", str(config.list_batch_sizes()[0]))
    words = ["memprof", "sweep", str(wanted.path), *(word for item in kept for word in (item.flag.value, item.text))]
    if config.mode is Mode.TRAIN and "optimizer" not in settings:  # which a saver has replaced
        label = config.optimizers[0].label
        words += ["--optimizer", label]
        settings = {key.replace("optimizer.", f"optimizers.{label}.", 1): value for key, value in settings.items()}
    words += ["--batch-size", size, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))]
    return shlex.join(words)
