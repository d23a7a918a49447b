"""Values of tensors in a run on a phantom, if the config asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from memprof.config.schema import SweepConfig, Values
from memprof.errors import WorkloadError
from memprof.gpus.phantom.values import ExpertRouting, host_values, is_phantom
from memprof.records import HostValues


@contextmanager
def computed_values(values: Values, routing: ExpertRouting | None) -> Iterator[Callable[[], HostValues | None]]:
    """Let the CPU compute values within the block, with `cpu` or `routing` on a phantom; yields what tells the cost."""
    if (values is Values.ZEROS and routing is None) or not is_phantom():
        yield lambda: None
        return
    with host_values(routing, computes_all=values is Values.CPU) as cost:
        yield lambda: HostValues(
            operators=cost.operators,
            operators_run=cost.operators_run,
            seconds=cost.seconds,
            peak_bytes=cost.memory.peak_bytes,
            missing=tuple(cost.missing),
        )


def make_routing(config: SweepConfig) -> ExpertRouting | None:
    """Return the routing of the config, which replaces what the routers of a model choose."""
    return None if config.routing is None else ExpertRouting(config.routing.worst)


@contextmanager
def routed(model: nn.Module, routing: ExpertRouting | None) -> Iterator[None]:
    """Let `routing` choose the experts of `model` within the block.

    Raises:
        WorkloadError: the GPU is real, the model has no experts, or no layer of it chose any.
    """
    if routing is None:
        yield
        return
    if not is_phantom():
        raise WorkloadError(
            "routing: a real GPU runs the model's own router; leave routing out, or use a simulated GPU"
        )
    if not routing.watch(model):
        raise WorkloadError("routing: the model has no layer with a part called experts and a number num_experts")
    yield
    if not routing.choices:
        raise WorkloadError("routing: no layer with experts chose them with topk over all experts; leave routing out")
