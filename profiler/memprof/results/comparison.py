"""What the variants of one config took, each against the base, and what their optimizers keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.errors import ResultError
from memprof.records import Phase, RunRecord, Status
from memprof.results import Result
from memprof.results.diff import Pair, name_of


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """What one variant took. `group` and `name` are where and how it stands in a table, the base being first."""

    group: str
    name: str
    settings: Mapping[str, str]  # the varied knobs at their values
    config: SweepConfig
    record: RunRecord


def saved_variants(saved: Result) -> list[VariantResult]:
    """Return the answers of a saved comparison, finished or not, the base first.

    Raises:
        ResultError: the records are not those of the variants in its manifest.
    """
    plans = saved.manifest.variants
    labels = [record.variant for record in saved.records]
    if labels != [plan.label for plan in plans[: len(labels)]]:
        raise ResultError(f"{saved.path} is damaged: its records are not of the variants that its manifest lists")
    try:
        configs = [SweepConfig.model_validate(plan.config) for plan in plans]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ResultError(f"{saved.path}: the config of a variant cannot be read: {place}: {first['msg']}") from None
    return [
        VariantResult(group=plan.group, name=plan.name, settings=plan.settings, config=config, record=record)
        for plan, config, record in zip(plans, configs, saved.records, strict=False)
    ]


def against_base(answers: Sequence[VariantResult]) -> list[Pair]:
    """Return each answer paired with the first one's, that of the base itself with itself."""
    base = answers[0].record
    return [Pair(name=name_of(answer.record), before=base, after=answer.record) for answer in answers]


@dataclass(frozen=True, kw_only=True)
class State:
    """The optimizer's state of one answer: by shapes and dtypes, and by the counters of the device."""

    name: str
    bytes: int
    parameters_bytes: int
    textbook_factor: int | None  # copies of the parameters; None for an optimizer without a known factor
    read_bytes: int | None

    @property
    def factor(self) -> float:
        """How many times the parameters' bytes the state takes."""
        return self.bytes / self.parameters_bytes


def optimizer_states(answers: Sequence[VariantResult]) -> list[State]:
    """Return the state of each optimizer among the answers, each once."""
    states: dict[tuple[str | None, int], State] = {}
    for answer in answers:
        config, breakdown = answer.config, answer.record.breakdown
        if config.mode is Mode.INFERENCE or breakdown is None or breakdown.optimizer_state_bytes is None:
            continue
        spec = config.optimizers[0]
        state = State(
            name=answer.settings.get("optimizer", spec.label),
            bytes=breakdown.optimizer_state_bytes,
            parameters_bytes=breakdown.parameters_bytes,
            textbook_factor=textbook_factor(spec),
            # Stepped within backward, state is not what the optimizer's phase leaves.
            read_bytes=None if config.optimizer_in_backward else state_read_bytes(answer.record),
        )
        states.setdefault((state.name, state.bytes), state)
    return list(states.values())


def textbook_factor(spec: OptimizerConfig) -> int | None:
    """Return how many numbers an optimizer keeps for each parameter, by the algorithms in torch.optim's documentation.

    SGD keeps a momentum buffer only with momentum; Adam and its kin the mean of the gradients and of their squares,
    with `amsgrad` also the largest of the latter.
    """
    name, kwargs = spec.name.lower(), spec.kwargs
    if name == "sgd":
        return 1 if kwargs.get("momentum") else 0
    if name in ("adam", "adamw"):
        return 3 if kwargs.get("amsgrad") else 2
    return {"nadam": 2, "radam": 2, "adamax": 2, "adagrad": 1, "adadelta": 2, "muon": 1}.get(name)


def state_read_bytes(record: RunRecord) -> int | None:
    """Return what the first optimizer step left allocated, by the device's counters: state, in whole blocks.

    ``None`` where there was no such step, or it also freed what it did not make (gradients).
    """
    steps = record.reading.steps if record.reading and record.status is Status.OK else ()
    phases = [reading for reading in steps[0].phases if reading.phase is Phase.OPTIMIZER] if steps else []
    left = sum(reading.allocated_after_bytes - reading.allocated_before_bytes for reading in phases)
    return left if phases and left >= 0 else None
