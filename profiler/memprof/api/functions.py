"""The functions that measure in a worker process, as the commands do. This process does not import torch for them.

Each takes a config file, a model's name as the commands do, a dict with the keys of a config, or a live
`torch.nn.Module`, which is sent to the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from memprof.api.results import CompareResult, ExplainResult, FitResult, FitsResult, MaxBatchResult, SweepResult
from memprof.api.source import ModelOptions, ModelSource, Opened, opened
from memprof.breakdown.snapshot import check_writable
from memprof.config.load import LoadedConfig
from memprof.config.overrides import Flag, Override
from memprof.config.schema import Mode, SweepConfig
from memprof.config.variants import Setting, load_variant, plan_variants
from memprof.errors import ConfigError, DeviceError
from memprof.experiments.compare import VariantRuns, variant_records
from memprof.experiments.explain import explain_point
from memprof.experiments.fit import Fit, FitRequest, savers_for
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import open_session
from memprof.experiments.sweep import sweep_records
from memprof.gpus.generic import generic_name
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import Device, choose_device
from memprof.records import Source
from memprof.results.comparison import variant_result
from memprof.units import format_bytes, parse_bytes


def sweep(
    model: ModelSource,
    *,
    gpu: str | None = None,
    batch_sizes: Sequence[int] = (),
    optimizers: Sequence[str] = (),
    **options: Unpack[ModelOptions],
) -> SweepResult:
    """Measure each optimizer at each batch size, as `memprof sweep` does.

    Args:
        model: a config file, a model's name, a dict with the keys of a config, or a `torch.nn.Module`.
        gpu: ``auto``, ``cuda:N`` or a GPU of the catalog; by default the config's.
        batch_sizes: instead of those of the config.
        optimizers: names of the config's optimizers, or any others.
        **options: what every function takes: `optimizer`, `batch`, `input`, `target`, `classes`, `seq_len`, `loss`,
            `precision`, and `settings` for any other keys of a config.

    Raises:
        MemprofError: the model, an option or the GPU cannot be used; one line says why.
    """
    if optimizers:
        options = {**options, "optimizer": list(optimizers)}
    with opened(model, options, gpu=gpu, batch_sizes=batch_sizes) as source:
        loaded = source.load()
        with open_session(loaded, choose_device(loaded.config.gpu)) as session:
            return SweepResult(records=tuple(sweep_records(session)), environment=session.environment)


def explain(
    model: ModelSource,
    *,
    batch_size: int | None = None,
    gpu: str | None = None,
    snapshot: str | Path | None = None,
    **options: Unpack[ModelOptions],
) -> ExplainResult:
    """Run one point and show what its peak consists of, as `memprof explain` does.

    The arguments are those of `sweep`. With `snapshot`, a snapshot for pytorch.org/memory_viz is written there.

    Raises:
        MemprofError: the model, an option or the GPU cannot be used; one line says why.
    """
    file = None if snapshot is None else Path(snapshot)
    if file is not None:
        check_writable(file)
    with opened(model, options, gpu=gpu, batch_sizes=_maybe(batch_size)) as source:
        loaded = source.load()
        with open_session(loaded, _gpu(loaded, "explain")) as session:
            return ExplainResult(explained=explain_point(session, loaded.config.points()[0], file))


def max_batch(
    model: ModelSource, *, gpu: str | None = None, memory: str | None = None, **options: Unpack[ModelOptions]
) -> MaxBatchResult:
    """Find the largest batch that trains, as `memprof max-batch` does.

    The arguments are those of `sweep`. `memory` is a limit for PyTorch such as ``"16GiB"``; without `gpu` and without a
    real GPU it is the size of the simulated one.

    Raises:
        MemprofError: the model, an option or the GPU cannot be used; one line says why.
        ValueError: `memory` is not a size.
    """
    limit_bytes = None if memory is None else parse_bytes(memory)
    with opened(model, options, gpu=gpu) as given:
        source, limit_bytes = _sized(given, memory, limit_bytes)
        loaded = source.load()
        device = _gpu(loaded, "max_batch")
        chosen = None if loaded.config.mode is Mode.INFERENCE else loaded.config.optimizers[0]
        target = Target(config=loaded.config, optimizer=chosen, device=device)
        with open_session(loaded, device) as session:
            (answer,) = find_max_batches(session.engine, [target], Limits(memory_limit_bytes=limit_bytes))
            return MaxBatchResult(answer=answer, environment=session.environment)


def fits(
    model: ModelSource, *, gpu: str | None = None, batch_size: int | None = None, **options: Unpack[ModelOptions]
) -> FitsResult:
    """Run one batch and say whether it fits. The result is true or false, and prints the answer in one line.

    The arguments are those of `sweep`.

    Raises:
        MemprofError: the model, an option or the GPU cannot be used, or the run fails for another reason than memory.
    """
    with opened(model, options, gpu=gpu, batch_sizes=_maybe(batch_size)) as source:
        source.load()
        loaded = load_variant(source.path, source.overrides)
        with open_session(loaded, _gpu(loaded, "fits")) as session:
            (record,) = VariantRuns(session).records([loaded.config], breakdowns=False)
            return FitsResult(record=record)


def compare(
    model: ModelSource,
    vary: Mapping[str, Sequence[Any]],
    *,
    grid: bool = False,
    gpu: str | None = None,
    batch_size: int | None = None,
    **options: Unpack[ModelOptions],
) -> CompareResult:
    """Compare settings and show how each changes memory, as `memprof compare` does.

    Args:
        model: as in `sweep`.
        vary: config keys, each with its values: ``{"precision": ["fp32", "amp-bf16"]}``.
        grid: every combination instead of one setting at a time.
        gpu: as in `sweep`.
        batch_size: by default the config's first.
        **options: as in `sweep`.

    Raises:
        MemprofError: the model, an option or the GPU cannot be used; one line says why.
    """
    texts = [f"{key}={','.join(_written(value) for value in values)}" for key, values in vary.items()]
    with opened(model, options, gpu=gpu, batch_sizes=_maybe(batch_size)) as source:
        source.load()
        variants = plan_variants(source.path, source.overrides, texts, grid)
        base = variants[0].loaded
        with open_session(base, choose_device(base.config.gpu)) as session:
            records = variant_records(VariantRuns(session), variants, max_batch=False)
            rows = zip(variants, records, strict=True)
            found = tuple(variant_result(variant, record, grid) for variant, record in rows)
            config = base.config.model_dump(mode="json")
            return CompareResult(variants=found, environment=session.environment, config=config)


def fit(
    model: ModelSource,
    *,
    batch_size: int | None = None,
    memory: str | None = None,
    gpu: str | None = None,
    same_training: bool = False,
    **options: Unpack[ModelOptions],
) -> FitResult:
    """Find the cheapest settings that make a batch fit into a memory limit, as `memprof fit` does.

    The arguments are those of `sweep`; `memory` is that of `max_batch`. With `same_training`, settings that change what
    is trained are not tried.

    Raises:
        MemprofError: the model, an option or the GPU cannot be used; one line says why.
        ValueError: `memory` is not a size.
    """
    limit_bytes = None if memory is None else parse_bytes(memory)
    with opened(model, options, gpu=gpu, batch_sizes=_maybe(batch_size)) as given:
        source, limit_bytes = _sized(given, memory, limit_bytes)
        largest = max(source.load().config.list_batch_sizes())

        def config_of(settings: Sequence[Setting]) -> SweepConfig:
            return _loaded_with(source, settings, largest).config

        base = _loaded_with(source, (), largest)
        with open_session(base, _gpu(base, "fit")) as session:
            total = session.environment.gpu_total_bytes
            if limit_bytes is not None and total is not None and limit_bytes > total:
                raise ConfigError(f"memory {format_bytes(limit_bytes)}: the GPU has {format_bytes(total)}")
            savers = savers_for(session, same_training=same_training)
            asked = FitRequest(config_of=config_of, savers=savers, memory_bytes=limit_bytes)
            steps = tuple(Fit(VariantRuns(session), asked).steps())
        shown = f"the GPU's {format_bytes(total)}" if limit_bytes is None else format_bytes(limit_bytes)
        return FitResult(steps=steps, memory_bytes=limit_bytes, memory=shown)


def _loaded_with(source: Opened, settings: Sequence[Setting], batch_size: int) -> LoadedConfig:
    """Return the config with `settings`; the batch size is `batch_size` if they have none."""
    sized = any(setting.key == "batch_size" for setting in settings)
    size = () if sized else (Setting(key="batch_size", value=str(batch_size)),)
    return load_variant(source.path, source.overrides, (*settings, *size), Flag.SAVER)


def _sized(source: Opened, memory: str | None, limit_bytes: int | None) -> tuple[Opened, int | None]:
    """Let `memory` be the size of a generic GPU if no GPU is named and there is no real one."""
    if memory is None or list_real_gpus() or source.load().config.gpu != "auto":
        return source, limit_bytes
    gpu = Override(flag=Flag.GPU, text=generic_name(f"{limit_bytes}B"))
    return replace(source, overrides=(*source.overrides, gpu)), None


def _gpu(loaded: LoadedConfig, function: str) -> Device:
    device = choose_device(loaded.config.gpu)
    if device.source is Source.ANALYTIC:
        raise DeviceError(f"{function} needs a GPU, real or simulated: {device.explanation}")
    return device


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _maybe(value: int | None) -> tuple[int, ...]:
    return () if value is None else (value,)
