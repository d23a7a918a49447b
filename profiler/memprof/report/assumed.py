"""Mark NVML's figure where it contains a CUDA context of assumed size, with the star of `memprof gpus`."""

from __future__ import annotations

from memprof.errors import ConfigError, DeviceError
from memprof.gpus.catalog import find_gpu
from memprof.records import Environment, Source

STAR = "*"
ASSUMED_CONTEXT = (
    "* with a CUDA context of assumed size: nobody published it for this GPU. memprof calibrate measures it."
)


def assumes_context(environment: Environment) -> bool:
    """Return whether the figures are those of a phantom whose context the catalog only assumes."""
    if environment.source is not Source.EMULATED or environment.gpu is None:
        return False
    try:
        return "context_bytes" in find_gpu(environment.gpu).assumed
    except (ConfigError, DeviceError):  # a catalog of other days had this GPU
        return False
