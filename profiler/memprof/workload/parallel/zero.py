"""The optimizer whose state the ranks of DDP share: ZeRO stage 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from memprof.config.schema import OptimizerConfig
from memprof.errors import WorkloadError
from memprof.workload.optimizers import find_optimizer
from memprof.workload.reason import reason


def build_zero(spec: OptimizerConfig, parameters: Sequence[nn.Parameter]) -> ZeroRedundancyOptimizer:
    """Return a ZeroRedundancyOptimizer around the optimizer of `spec`; its attribute `optim` has this rank's state.

    Raises:
        WorkloadError: as `build_optimizer`.
    """
    kind, defaults = find_optimizer(spec.name)
    try:
        return ZeroRedundancyOptimizer(parameters, optimizer_class=kind, **{**defaults, **spec.kwargs})
    except Exception as error:
        raise WorkloadError(f"optimizer {spec.name!r} with parallel.ddp.zero: {reason(error)}") from error
