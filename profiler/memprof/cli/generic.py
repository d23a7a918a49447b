"""`--memory` without a GPU: the GPU is a generic one of that size."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.gpus.generic import generic_name
from memprof.gpus.real import list_real_gpus


def gpu_of_size(memory: str | None, gpus: Sequence[str]) -> str | None:
    """Return the name of the generic GPU that `--memory` stands for.

    ``None`` if a GPU is named, or if this machine has a real one: then `--memory` limits PyTorch on it.
    """
    if memory is None or list(gpus) != ["auto"] or list_real_gpus():
        return None
    size = memory if memory.strip().lower().endswith("b") else f"{memory.strip()}B"
    return generic_name(size)
