"""`memprof gpus`: the real GPUs of this machine and the catalog."""

from __future__ import annotations

from dataclasses import asdict

from profiler.cli.console import print_json, stdout
from profiler.errors import ExitCode
from profiler.phantom.catalog import GpuSpec, load_catalog
from profiler.real_gpus import RealGpu, list_real_gpus
from profiler.report.terminal import GpuRow, gpus_table


def run(json: bool) -> ExitCode:
    """Print the GPUs that `--gpu` can name."""
    real, catalog = list_real_gpus(), load_catalog()
    if json:
        print_json({"real": [asdict(g) for g in real], "phantom": [asdict(g) for g in catalog.values()]})
        return ExitCode.OK
    real_rows = [_real_row(index, gpu) for index, gpu in enumerate(real)]
    stdout().print(gpus_table(real_rows, [_phantom_row(gpu) for gpu in catalog.values()]))
    return ExitCode.OK


def _real_row(index: int, gpu: RealGpu) -> GpuRow:
    return GpuRow(
        name=gpu.name,
        key=f"cuda:{index}",
        capability=gpu.compute_capability,
        memory_bytes=gpu.total_bytes,
        multiprocessors=None,  # NVML does not tell
    )


def _phantom_row(spec: GpuSpec) -> GpuRow:
    shown = {"total_bytes": "memory_bytes", "multiprocessors": "multiprocessors", "name": "name"}
    return GpuRow(
        name=spec.name,
        key=spec.key,
        capability=spec.compute_capability,
        memory_bytes=spec.total_bytes,
        multiprocessors=spec.multiprocessors,
        assumed=frozenset(shown[name] for name in spec.assumed if name in shown),
    )
