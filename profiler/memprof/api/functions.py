"""`sweep`, `explain`, `max_batch`, `compare`, `fit` and `fits`: the commands as functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from memprof.api.results import CompareResult, ExplainResult, FitResult, FitsResult, MaxBatchResult, SweepResult
from memprof.api.source import Description, Source, open_source
from memprof.breakdown.snapshot import check_writable
from memprof.config.load import LoadedConfig
from memprof.config.overrides import Flag
from memprof.config.schema import Mode, SweepConfig
from memprof.config.variants import Setting, load_variant, plan_variants
from memprof.errors import ConfigError, DeviceError
from memprof.experiments.compare import VariantRuns, variant_records
from memprof.experiments.explain import explain_point
from memprof.experiments.fit import Fit, FitRequest, savers_for
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import open_session
from memprof.experiments.sweep import sweep_records
from memprof.gpus.select import Device, choose_device, gpu_of_size
from memprof.records import Source as FigureSource
from memprof.results.comparison import VariantResult, plan_row
from memprof.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from memprof.api.source import Model, OptimizerLike


class ModelOptions(TypedDict, total=False):
    """What describes the model and its training; every function takes these keyword arguments.

    `batch` is a function of the batch size that returns ``(inputs, target)``, or a dict of keyword inputs. It stands
    for `input`, `target` and `classes`, which are written as the options of the command line: ``input="3x224x224"``.
    `settings` are config keys and their values: ``{"activation_checkpointing": 1}``.
    """

    batch: Callable[[int], Any] | None
    input: str | Sequence[str] | None
    target: str | None
    classes: int | None
    seq_len: int | None
    loss: str | None
    precision: str | None
    settings: Mapping[str, Any] | None


def sweep(
    model: Model,
    *,
    batch_sizes: Sequence[int] = (),
    optimizers: Sequence[OptimizerLike] = (),
    gpu: str | None = None,
    **options: Unpack[ModelOptions],
) -> SweepResult:
    """Measure each optimizer at each batch size, as `memprof sweep` does.

    Args:
        model: a live module, a config file, a name such as ``torchvision:resnet50``, or a dict with a config's keys.
        batch_sizes: instead of those of the config.
        optimizers: names, classes or live optimizers, instead of those of the config.
        gpu: ``auto``, ``cuda:N``, a GPU of the catalog, or a size such as ``24GiB``; by default the config's.
        **options: see `ModelOptions`.

    Raises:
        MemprofError: the model, its input or the GPU cannot be used; one line says why.
    """
    described = Description(gpu=gpu, batch_sizes=batch_sizes, optimizers=optimizers, **options)
    with open_source(model, described) as source:
        loaded = source.loaded()
        with open_session(loaded, choose_device(loaded.config.gpu)) as session:
            return SweepResult(records=tuple(sweep_records(session)), environment=session.environment)


def fits(
    model: Model,
    *,
    batch_size: int | None = None,
    optimizer: OptimizerLike | None = None,
    gpu: str | None = None,
    **options: Unpack[ModelOptions],
) -> FitsResult:
    """Say whether one batch size trains: ``if fits(model, gpu="t4", batch_size=64, batch=...):``.

    The arguments are those of `sweep`, with one batch size and one optimizer.

    Raises:
        MemprofError: the model, its input or the GPU cannot be used, or the step fails for another reason than memory.
    """
    described = _one_point(batch_size, optimizer, gpu, options)
    with open_source(model, described) as source:
        loaded = source.loaded()
        with open_session(loaded, _gpu(loaded, "fits")) as session:
            (record,) = VariantRuns(session).records([loaded.config])
    if record.status.value not in ("ok", "oom"):
        raise ConfigError(f"fits: the step ended with {record.status.value}: {record.error}")
    return FitsResult(record=record)


def explain(
    model: Model,
    *,
    batch_size: int | None = None,
    optimizer: OptimizerLike | None = None,
    gpu: str | None = None,
    snapshot: str | Path | None = None,
    **options: Unpack[ModelOptions],
) -> ExplainResult:
    """Run one point and show what its peak consists of, as `memprof explain` does.

    The arguments are those of `sweep`. With `snapshot`, a snapshot for pytorch.org/memory_viz is written there.

    Raises:
        MemprofError: the model, its input or the GPU cannot be used; one line says why.
    """
    file = None if snapshot is None else Path(snapshot)
    if file is not None:
        check_writable(file)
    with open_source(model, _one_point(batch_size, optimizer, gpu, options)) as source:
        loaded = source.loaded()
        with open_session(loaded, _gpu(loaded, "explain")) as session:
            return ExplainResult(explained=explain_point(session, loaded.config.points()[0], file))


def max_batch(
    model: Model,
    *,
    optimizer: OptimizerLike | None = None,
    gpu: str | None = None,
    memory: str | None = None,
    **options: Unpack[ModelOptions],
) -> MaxBatchResult:
    """Find the largest batch that trains, as `memprof max-batch` does.

    The arguments are those of `sweep`. `memory` limits PyTorch, e.g. ``"16GiB"``.

    Raises:
        MemprofError: the model, its input or the GPU cannot be used; one line says why.
    """
    limits = Limits(memory_limit_bytes=_size(memory))
    with open_source(model, _one_point(None, optimizer, gpu, options)) as source:
        loaded = source.loaded()
        device = _gpu(loaded, "max_batch")
        chosen = None if loaded.config.mode is Mode.INFERENCE else loaded.config.optimizers[0]
        target = Target(config=loaded.config, optimizer=chosen, device=device)
        with open_session(loaded, device) as session:
            (answer,) = find_max_batches(session.client, [target], limits)
            return MaxBatchResult(answer=answer, environment=session.environment)


def compare(
    model: Model,
    *,
    vary: Mapping[str, Sequence[Any]],
    grid: bool = False,
    find_max_batch: bool = False,
    batch_size: int | None = None,
    optimizer: OptimizerLike | None = None,
    gpu: str | None = None,
    **options: Unpack[ModelOptions],
) -> CompareResult:
    """Show how settings change memory, as `memprof compare` does.

    Args:
        model: as in `sweep`.
        vary: config keys and their values, e.g. ``{"precision": ["fp32", "amp-bf16"]}``.
        grid: run every combination instead of one setting at a time.
        find_max_batch: also find the largest batch of each variant.
        batch_size: by default the first of the config.
        optimizer: by default the first of the config.
        gpu: as in `sweep`.
        **options: see `ModelOptions`.

    Raises:
        MemprofError: the model, its input, a setting or the GPU cannot be used; one line says why.
    """
    texts = [f"{key}={','.join(map(_text, values))}" for key, values in vary.items()]
    with open_source(model, _one_point(batch_size, optimizer, gpu, options)) as source:
        source.loaded()  # the first error is that of the base
        variants = plan_variants(source.path, source.overrides, texts, grid)
        base = variants[0].loaded
        with open_session(base, choose_device(base.config.gpu)) as session:
            records = tuple(variant_records(VariantRuns(session), variants, find_max_batch))
            plans = [plan_row(variant, grid) for variant in variants]
            answers = tuple(
                VariantResult(
                    group=plan.group,
                    name=plan.name,
                    settings=plan.settings,
                    config=variant.loaded.config,
                    record=record,
                )
                for plan, variant, record in zip(plans, variants, records, strict=True)
            )
            config = base.config.model_dump(mode="json")
            return CompareResult(variants=answers, base=config, environment=session.environment)


def fit(
    model: Model,
    *,
    batch_size: int | None = None,
    optimizer: OptimizerLike | None = None,
    gpu: str | None = None,
    memory: str | None = None,
    same_training: bool = False,
    **options: Unpack[ModelOptions],
) -> FitResult:
    """Find the cheapest settings with which a batch fits, as `memprof fit` does.

    The arguments are those of `sweep`. `memory` is the limit, e.g. ``"8GiB"``; without `gpu` and without a real GPU,
    it is the size of the GPU. With `same_training`, settings that change what is trained are not tried.

    Raises:
        MemprofError: the model, its input or the GPU cannot be used; one line says why.
    """
    limit_bytes = _size(memory)
    generic = gpu_of_size(memory, [gpu or "auto"])
    described = _one_point(batch_size, optimizer, generic or gpu, options)
    with open_source(model, described) as source:
        loaded = source.loaded()
        size = str(max(loaded.config.list_batch_sizes()))

        def config_of(settings: Sequence[Setting]) -> SweepConfig:
            return _with_size(source, settings, size).config

        base = _with_size(source, (), size)
        device = _gpu(base, "fit")
        with open_session(base, device) as session:
            savers = savers_for(session, same_training=same_training)
            limit = None if generic else limit_bytes
            asked = FitRequest(config_of=config_of, savers=savers, memory_bytes=limit)
            steps = tuple(Fit(VariantRuns(session), asked).steps())
        total = format_bytes(device.total_bytes)
        shown = format_bytes(limit) if limit is not None else f"the GPU's {total}"
        return FitResult(steps=steps, memory_limit_bytes=limit, memory=shown)


def _with_size(source: Source, settings: Sequence[Setting], size: str) -> LoadedConfig:
    chosen = tuple(settings)
    if not any(setting.key == "batch_size" for setting in chosen):
        chosen = (*chosen, Setting(key="batch_size", value=size))
    return load_variant(source.path, source.overrides, chosen, Flag.SAVER)


def _one_point(
    batch_size: int | None, optimizer: OptimizerLike | None, gpu: str | None, options: ModelOptions
) -> Description:
    sizes = () if batch_size is None else (batch_size,)
    optimizers = () if optimizer is None else (optimizer,)
    return Description(gpu=gpu, batch_sizes=sizes, optimizers=optimizers, **options)


def _gpu(loaded: LoadedConfig, function: str) -> Device:
    device = choose_device(loaded.config.gpu)
    if device.source is FigureSource.ANALYTIC:
        raise DeviceError(f"{function} needs a GPU, real or simulated: {device.explanation}")
    return device


def _size(memory: str | None) -> int | None:
    try:
        return None if memory is None else parse_bytes(memory)
    except ValueError as error:
        raise ConfigError(f"memory: {error}") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
