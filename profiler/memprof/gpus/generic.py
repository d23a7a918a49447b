"""A GPU of any size, for a limit without a GPU: ``--memory 24GiB``, or ``--gpu 24GiB``."""

from __future__ import annotations

from dataclasses import replace

from memprof.errors import DeviceError
from memprof.gpus.spec import GpuSpec
from memprof.units import format_bytes, parse_bytes

_PREFIX = "generic-"


def generic_name(size: str) -> str:
    """Return the name of the GPU with as much memory as `size` says: ``generic-24gib``."""
    return _PREFIX + "".join(size.split()).lower()


def generic_size(name: str) -> int | None:
    """Return the bytes of the generic GPU that `name` names, with or without the prefix; ``None`` if it names none."""
    text = name.strip().lower().removeprefix(_PREFIX)
    if not text.endswith("b"):  # without a unit it is no size: h100, 3090
        return None
    try:
        return parse_bytes(text)
    except ValueError:
        return None


def described(spec: GpuSpec, base: str) -> str:
    """Return the GPU in words; a generic one names the GPU that it is like otherwise."""
    if spec.key.startswith(_PREFIX):
        return f"a {spec.name} of memory, otherwise an {base},"
    return f"{spec.name} ({spec.key})"


def generic_gpu(base: GpuSpec, name: str, size_bytes: int) -> GpuSpec:
    """Return a GPU with `size_bytes` of memory that is otherwise `base`.

    Raises:
        DeviceError: the CUDA context alone takes more.
    """
    if size_bytes <= base.context_bytes:
        raise DeviceError(
            f"--gpu {name}: a CUDA context alone takes {format_bytes(base.context_bytes)}; write for example 8GiB"
        )
    return replace(
        base,
        key=generic_name(name.strip().lower().removeprefix(_PREFIX)),
        name=f"GPU with {format_bytes(size_bytes)}",
        total_bytes=size_bytes,
        nvml_total_bytes=None,
        assumed=tuple(dict.fromkeys((*base.assumed, "total_bytes"))),
    )
