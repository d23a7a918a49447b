"""Build a learning-rate scheduler of torch.optim.lr_scheduler by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch.optim import Optimizer, lr_scheduler

from memprof.config.finetuning import SchedulerConfig
from memprof.config.sections import Kwargs
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.reason import reason

# Arguments that a class demands and whose values change no memory.
_EXAMPLES: Mapping[str, Kwargs] = {
    "CosineAnnealingLR": {"T_max": 100},
    "CosineAnnealingWarmRestarts": {"T_0": 10},
    "CyclicLR": {"base_lr": 1e-4, "max_lr": 1e-3, "cycle_momentum": False},
    "ExponentialLR": {"gamma": 0.99},
    "MultiStepLR": {"milestones": [10]},
    "OneCycleLR": {"max_lr": 1e-3, "total_steps": 10_000},
    "StepLR": {"step_size": 10},
}


def build_scheduler(spec: SchedulerConfig, optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """Return the scheduler of `spec`; arguments that its class demands have example values if the config has none.

    Raises:
        WorkloadError: there is no such class, or it refuses the arguments or the optimizer.
    """
    classes = {name.lower(): name for name in lr_scheduler.__all__}
    name = classes.get(spec.name.lower())
    if name is None:
        raise WorkloadError(
            f"scheduler {spec.name!r} is not in torch.optim.lr_scheduler{did_you_mean(spec.name, lr_scheduler.__all__)}"
        )
    try:
        built: lr_scheduler.LRScheduler = getattr(lr_scheduler, name)(
            optimizer, **{**_EXAMPLES.get(name, {}), **spec.kwargs}
        )
    except Exception as error:
        raise WorkloadError(f"scheduler {spec.name!r} cannot be built: {reason(error)}") from error
    return built


def step_scheduler(scheduler: lr_scheduler.LRScheduler) -> None:
    """Step once; a scheduler that follows a metric gets a constant one, whose value changes no memory."""
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        scheduler.step(0.0)
    else:
        scheduler.step()
