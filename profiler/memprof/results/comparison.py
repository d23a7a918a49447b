"""Results of the variants of one config, each compared with the base, and their optimizer states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.config.variants import Variant
from memprof.errors import DATA_ERRORS, ResultError
from memprof.records import Phase, RunRecord, Status
from memprof.results import Result, name_of
from memprof.results.diff import Pair
from memprof.results.serialize import VariantPlan, first_problem


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """The result of one variant; `group` and `name` are the section and the name of its row in the table."""

    group: str
    name: str
    settings: Mapping[str, str]  # the varied settings and their values
    config: SweepConfig
    record: RunRecord


def saved_variants(saved: Result) -> list[VariantResult]:
    """Return the variants of a saved comparison, finished or not, the base first.

    Raises:
        ResultError: the records do not belong to the variants in the manifest, or a variant's config is invalid.
    """
    plans = saved.manifest.variants
    labels = [record.variant for record in saved.records]
    if labels != [plan.label for plan in plans[: len(labels)]]:
        raise ResultError(f"{saved.path} is damaged: its records do not match the variants in its manifest")
    try:
        configs = [SweepConfig.model_validate(plan.config) for plan in plans]
    except ValidationError as error:
        raise ResultError(f"{saved.path}: the config of a variant is invalid: {first_problem(error)}") from None
    except DATA_ERRORS as error:
        raise ResultError(f"{saved.path}: the config of a variant is invalid: {type(error).__name__}") from None
    rows = zip(plans, configs, saved.records, strict=False)
    return [_with_record(plan, config, record) for plan, config, record in rows]


def variant_result(variant: Variant, record: RunRecord, grid: bool) -> VariantResult:
    """Return the result of a variant that has run and was not saved; `grid` as in `plan_row`."""
    return _with_record(plan_row(variant, grid), variant.loaded.config, record)


def _with_record(plan: VariantPlan, config: SweepConfig, record: RunRecord) -> VariantResult:
    return VariantResult(group=plan.group, name=plan.name, settings=plan.settings, config=config, record=record)


def plan_row(variant: Variant, grid: bool) -> VariantPlan:
    """Return the row of a variant before it has run; `grid` says whether all combinations are run."""
    settings = {setting.key: setting.shown for setting in variant.settings}
    group, name = _place(variant, settings, grid)
    config = variant.loaded.config.model_dump(mode="json")
    return VariantPlan(label=variant.label, group=group, name=name, settings=settings, config=config)


def _place(variant: Variant, settings: dict[str, str], grid: bool) -> tuple[str, str]:
    """Return the section and the name of a variant's row: the setting and its value, in a grid the last setting's."""
    *before, last = (f"{key}={value}" for key, value in settings.items())
    if len(settings) == 1:
        ((key, value),) = settings.items()
        return key, value if variant.changed else f"{value} (base)"
    if grid:
        return ", ".join(before), last if variant.changed else f"{last} (base)"
    if not variant.changed:
        return f"base: {', '.join(f'{key}={value}' for key, value in settings.items())}", "base"
    return variant.changed[0].key, variant.changed[0].shown


def against_base(variants: Sequence[VariantResult]) -> list[Pair]:
    """Return each variant paired with the first one, the base; the base is paired with itself."""
    base = variants[0].record
    return [Pair(name=name_of(variant.record), before=base, after=variant.record) for variant in variants]


@dataclass(frozen=True, kw_only=True)
class OptimizerState:
    """The optimizer state of one variant: the analytic estimate, and what the device's counters showed."""

    name: str
    bytes: int
    parameters_bytes: int  # of the trained parameters: frozen ones have no state
    expected_factor: int | None  # copies of the parameters; None for an optimizer without a known factor
    observed_bytes: int | None

    @property
    def factor(self) -> float:
        """The bytes of the state divided by those of the parameters."""
        return self.bytes / self.parameters_bytes


def optimizer_states(variants: Sequence[VariantResult]) -> list[OptimizerState]:
    """Return the state of each optimizer among the variants, each once."""
    states: dict[tuple[str | None, int], OptimizerState] = {}
    for variant in variants:
        config, breakdown = variant.config, variant.record.breakdown
        if config.mode is Mode.INFERENCE or breakdown is None or breakdown.optimizer_state_bytes is None:
            continue
        spec = config.optimizers[0]
        state = OptimizerState(
            name=variant.settings.get("optimizer", spec.label),
            bytes=breakdown.optimizer_state_bytes,
            # Gradients are as large as the trained parameters, if all of them exist at the same time.
            parameters_bytes=breakdown.parameters_bytes if config.optimizer_in_backward else breakdown.gradients_bytes,
            expected_factor=expected_factor(spec),
            # If the optimizer steps within backward, its state is not allocated in the optimizer phase.
            observed_bytes=None if config.optimizer_in_backward else observed_state_bytes(variant.record),
        )
        states.setdefault((state.name, state.bytes), state)
    return list(states.values())


def expected_factor(spec: OptimizerConfig) -> int | None:
    """Return how many numbers an optimizer keeps per parameter, from the algorithms in torch.optim's documentation.

    SGD keeps a momentum buffer only with momentum. Adam and its relatives keep the mean of the gradients and of their
    squares, and with `amsgrad` also the maximum of the latter.
    """
    name, kwargs = spec.name.lower(), spec.kwargs
    if name == "sgd":
        return 1 if kwargs.get("momentum") else 0
    if name in ("adam", "adamw"):
        return 3 if kwargs.get("amsgrad") else 2
    return {"nadam": 2, "radam": 2, "adamax": 2, "adagrad": 1, "adadelta": 2, "muon": 1}.get(name)


def observed_state_bytes(record: RunRecord) -> int | None:
    """Return how much the first optimizer step left allocated, from the device's counters: state, in whole blocks.

    In a resumed run it is what loading the checkpoint left. ``None`` if there was no such step, or it
    also freed memory that it did not allocate (gradients).
    """
    steps = record.reading.steps if record.reading and record.status is Status.OK else ()
    if steps and record.reading and record.reading.resume is not None:
        loading = record.reading.resume
        return loading.allocated_after_bytes - loading.allocated_before_bytes
    phases = [reading for reading in steps[0].phases if reading.phase is Phase.OPTIMIZER] if steps else []
    left = sum(reading.allocated_after_bytes - reading.allocated_before_bytes for reading in phases)
    return left if phases and left >= 0 else None
