"""The GPUs that can be simulated, read from the catalog."""

from __future__ import annotations

from docsite.markdown import code, table
from memprof.gpus.catalog import load_catalog
from memprof.units import format_bytes


def gpu_table() -> str:
    """Return a table of the catalog; a figure that nobody published is marked with `*`."""
    rows = []
    for spec in load_catalog().values():
        assumed = "*" if "context_bytes" in spec.assumed else ""
        sizes = (format_bytes(spec.total_bytes), f"{format_bytes(spec.context_bytes)}{assumed}")
        of = (spec.kind or "-", str(spec.year or "-"))
        rows.append((code(spec.key), spec.name, *of, spec.compute_capability, str(spec.multiprocessors), *sizes))
    return table(("--gpu", "name", "class", "year", "compute capability", "SMs", "memory", "CUDA context"), rows)
