"""`memprof fit --gpus`: which mesh of some GPUs leaves most room, or on how few GPUs a local batch trains."""

from __future__ import annotations

import re
import sys

from memprof.cli.console import note, print_json, print_next, print_verdict, progress_bar, stdout
from memprof.cli.next_command import follow
from memprof.config.load import LoadedConfig
from memprof.errors import ConfigError, ExitCode
from memprof.experiments.compare import VariantRuns
from memprof.experiments.fit_gpus import MOST_GPUS, MeshRun, list_meshes, roomiest_of, run_fewest, run_meshes
from memprof.experiments.session import check_parallel_device, open_session
from memprof.gpus.select import Device
from memprof.report.documents import gpus_document
from memprof.report.terminal.fit_gpus import gpus_table, gpus_verdict

FEWEST = "fewest"


def run(loaded: LoadedConfig, device: Device, gpus: str, json: bool) -> ExitCode:
    """Run one rank of each mesh, print them, and return `ExitCode.DOES_NOT_FIT` if none trains."""
    count = _count(gpus)
    check_parallel_device(loaded, device)
    note(device.explanation)
    meshes = None if count is None else list_meshes(count)
    found: list[MeshRun] = []
    with (
        progress_bar("starting PyTorch", len(meshes) if meshes else None) as progress,
        open_session(loaded, device, progress.on_step) as session,
    ):
        runs = VariantRuns(session)
        tried = run_fewest(runs, loaded.config) if meshes is None else run_meshes(runs, loaded.config, meshes)
        for one in tried:
            found.append(one)
            progress.describe(f"{device.name}: tried {one.mesh.label}")
    best = roomiest_of(found)
    if json:
        print_json(gpus_document(found, best))
    else:
        print_verdict(gpus_verdict(found, fewest=meshes is None))
        console = stdout()
        console.print(gpus_table(found, console.width))
        if best is not None:
            print_next(follow(("memprof", *sys.argv[1:]), "max-batch", {"--gpus": None, "--parallel": _option(best)}))
    return ExitCode.OK if best else ExitCode.DOES_NOT_FIT


def _count(gpus: str) -> int | None:
    """Return the number of GPUs; ``None`` for the fewest on which the batch trains."""
    if gpus == FEWEST:
        return None
    if re.fullmatch(r"\d{1,9}", gpus) is None or not 1 <= int(gpus) <= MOST_GPUS:
        raise ConfigError(f"--gpus {gpus:.20}: write a number from 1 to {MOST_GPUS:,}, or {FEWEST}")
    return int(gpus)


def _option(run: MeshRun) -> str:
    sizes = {name: size for name, size in run.mesh.sizes.items() if size > 1} or {"shard": 1}
    return ",".join(f"{name}={size}" for name, size in sizes.items())
