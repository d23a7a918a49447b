"""A calibration for a terminal: what CUDA takes on the GPU, part by part."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memprof.experiments.calibrate import PARTS, Calibration
from memprof.units import UNKNOWN, format_bytes

_NAMES = ("context alone", "+ PyTorch's own kernels", "+ cuBLAS", "+ cuDNN")
_MEANING = "Each part is what NVML counts in addition when its first kernel is loaded, without PyTorch's memory."
_WHOLE = "The driver does not report memory per process here: the figures are what was added on the whole GPU."


def calibration_table(found: Calibration) -> RenderableType:
    """Return the GPU, the circumstances, and a row for each part."""
    circumstances = f"driver {found.driver_version or UNKNOWN} · torch {found.torch_version}"
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_row("", Text(found.source.value, "dim"))
    for name, part in zip(_NAMES, PARTS, strict=True):
        table.add_row(name, format_bytes(found.figures[part]))
    table.add_row(Text("total", "bold"), Text(format_bytes(found.total_bytes), "bold"))
    meanings = [_MEANING] if found.of_process else [_MEANING, _WHOLE]
    title = [Text(f"{found.figures['name']} · {found.source.value}", "bold"), Text(circumstances, "dim"), Text()]
    return Group(*title, table, Text(), *(Text(line, "dim") for line in meanings))
