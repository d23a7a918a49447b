"""One line about a precision that the GPU has no units for: memory figures do not show that its kernels are slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memprof.cli.console import note
from memprof.config.schema import Precision, SweepConfig
from memprof.gpus.select import BF16_SINCE, Device, multiplies_bf16

_BF16 = {Precision.BF16: "fp16", Precision.AMP_BF16: "amp-fp16"}  # with what is as fast on an older GPU


def note_slow_precision(configs: Iterable[SweepConfig], devices: Sequence[Device]) -> None:
    """Print a warning if one of `configs` computes in bfloat16 on a GPU that cannot multiply in it."""
    used = next((config.precision for config in configs if config.precision in _BF16), None)
    slow = [device.name for device in devices if not multiplies_bf16(device)] if used else []
    if used and slow:
        note(
            f"warning: {', '.join(slow)} cannot multiply in bfloat16, which begins with compute capability "
            f"{BF16_SINCE}.0: the memory is right, but {used.value} is slow there; use --precision {_BF16[used]}"
        )
