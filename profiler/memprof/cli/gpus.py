"""`memprof gpus`: list the GPUs of this machine and those that can be simulated."""

from __future__ import annotations

from dataclasses import asdict

from memprof.cli import options
from memprof.cli.console import print_json, stdout
from memprof.errors import ExitCode
from memprof.gpus.catalog import load_catalog
from memprof.gpus.real import RealGpu, list_real_gpus
from memprof.gpus.select import runnable_gpus
from memprof.gpus.spec import GpuSpec
from memprof.report.terminal.gpus import GpuRow, gpus_table

EXAMPLES = """\
memprof gpus
memprof gpus --json"""
# The catalog's figures that have a column, and its field.
_SHOWN = {
    "name": "name",
    "multiprocessors": "multiprocessors",
    "total_bytes": "memory_bytes",
    "context_bytes": "context_bytes",
}


def command(json: options.Json = False) -> int:
    """List the GPUs."""
    return run(json)


def run(json: bool) -> ExitCode:
    """Print the GPUs that `--gpu` can name, and where the figures of the catalog come from."""
    real, catalog, runnable = list_real_gpus(), load_catalog(), runnable_gpus()
    if json:
        phantoms = [{**asdict(gpu), "runnable": gpu.key in runnable} for gpu in catalog.values()]
        print_json({"real": [asdict(gpu) for gpu in real], "phantom": phantoms})
        return ExitCode.OK
    real_rows = [_real_row(index, gpu) for index, gpu in enumerate(real)]
    stdout().print(gpus_table(real_rows, [_phantom_row(gpu, gpu.key in runnable) for gpu in catalog.values()]))
    return ExitCode.OK


def _real_row(index: int, gpu: RealGpu) -> GpuRow:
    return GpuRow(
        name=gpu.name,
        key=f"cuda:{index}",
        capability=gpu.compute_capability,
        memory_bytes=gpu.total_bytes,
        multiprocessors=None,  # NVML does not report it
    )


def _phantom_row(spec: GpuSpec, runnable: bool) -> GpuRow:
    assumed, calibrated = (
        frozenset(_SHOWN[name] for name in names if name in _SHOWN) for names in (spec.assumed, spec.calibrated)
    )
    return GpuRow(
        name=spec.name,
        key=spec.key,
        kind=spec.kind or "",
        year=spec.year,
        capability=spec.compute_capability,
        memory_bytes=spec.total_bytes,
        multiprocessors=spec.multiprocessors,
        context_bytes=spec.context_bytes,
        assumed=assumed,
        calibrated=calibrated,
        not_shown=tuple(name for name in spec.assumed if name not in _SHOWN),
        runnable=runnable,
    )
