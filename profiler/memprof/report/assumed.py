"""Mark figures that contain a CUDA context of assumed size, with the star of `memprof gpus`."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.errors import ConfigError, DeviceError
from memprof.gpus.catalog import find_gpu
from memprof.records import Environment, MaxBatch, Source
from memprof.units import format_bytes

STAR = "*"
ASSUMED_CONTEXT = (
    "* with a CUDA context of assumed size: nobody published it for this GPU. memprof calibrate measures it."
)


def assumes_context(environment: Environment) -> bool:
    """Return whether the figures are those of a phantom whose context the catalog only assumes."""
    return context_star(environment.gpu, environment.source) == STAR


def context_star(gpu: str | None, source: Source) -> str:
    """Return the star if `gpu` is a phantom whose context the catalog only assumes, else nothing."""
    if source is not Source.EMULATED or gpu is None:
        return ""
    try:
        return STAR if find_gpu(gpu).context_is_assumed else ""
    except (ConfigError, DeviceError):  # a catalog of other days had this GPU
        return ""


def answers_star(answers: Sequence[MaxBatch]) -> str:
    """Return the star if it is that of one of the answers of a max-batch search."""
    return max((context_star(answer.gpu, answer.source) for answer in answers), default="")


def starred_bytes(value_bytes: int | None, star: str, *, signed: bool = False) -> str:
    """Return bytes as text; known ones have the `star`."""
    return format_bytes(value_bytes, signed=signed) + (star if value_bytes is not None else "")


def context_notes(star: str) -> tuple[str, ...]:
    """Return the line that explains the star, if there is one."""
    return (ASSUMED_CONTEXT,) if star else ()
