"""`memprof doctor`: check the installation and suggest fixes."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from memprof.cli import options
from memprof.cli.console import print_json, stdout
from memprof.errors import DeviceError, ExitCode
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu
from memprof.gpus.phantom.build import build_phantom, find_compiler
from memprof.gpus.phantom.environment import worker_environment
from memprof.gpus.phantom.loaded import problem_of_loaded
from memprof.gpus.phantom.prebuilt import find_prebuilt
from memprof.gpus.phantom.self_test import run_self_test
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch
from memprof.gpus.real import list_real_gpus
from memprof.report.terminal.doctor import CheckRow, doctor_table

EXAMPLES = """\
memprof doctor
memprof doctor --json"""


def command(json: options.Json = False) -> int:
    """Check the installation."""
    return run(json)


def run(json: bool) -> ExitCode:
    """Print the findings. The status is 4 if neither a real nor a simulated GPU is available."""
    checks = list(_checks())
    if json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        stdout().print(doctor_table(checks))
    states = {check.name: check.state for check in checks}
    phantom = "ok" if states["self-test"] == states.get("loaded code") == "ok" else "warn"
    return ExitCode.OK if "ok" in (states["real GPU"], phantom) else ExitCode.DEVICE


def _checks() -> Iterator[CheckRow]:
    yield CheckRow(name="Python", state="ok", detail=f"{platform.python_version()} ({sys.executable})")
    install = find_torch()
    yield from _torch_checks(install)
    yield from _real_gpu_checks()
    yield _compiler_check(install)
    yield from _phantom_checks(install)


def _torch_checks(install: TorchInstall | None) -> Iterator[CheckRow]:
    if install is None:
        advice = "pip install torch torchvision"
        yield CheckRow(name="PyTorch", state="missing", detail="not installed", advice=advice)
        return
    yield CheckRow(name="PyTorch", state="ok", detail=install.torch_version)
    if install.cuda_version is None:
        advice = "install a CUDA build of torch; with this one, memprof only gives analytic estimates"
        yield CheckRow(name="CUDA", state="missing", detail="a CPU build of torch", advice=advice)
        return
    yield CheckRow(name="CUDA", state="ok", detail=install.cuda_version)
    cudnn = install.cudnn_version
    yield CheckRow(name="cuDNN", state="ok" if cudnn else "missing", detail=cudnn or "no headers found")


def _real_gpu_checks() -> Iterator[CheckRow]:
    gpus = list_real_gpus()
    if not gpus:
        yield CheckRow(
            name="real GPU",
            state="missing",
            detail="none found",
            advice="--gpu NAME simulates a GPU of the catalog (memprof gpus)",
        )
        return
    yield CheckRow(name="driver", state="ok", detail=gpus[0].driver_version)
    yield CheckRow(name="real GPU", state="ok", detail=", ".join(gpu.name for gpu in gpus))


def _compiler_check(install: TorchInstall | None) -> CheckRow:
    if install is not None and find_prebuilt(install.cuda_number // 1000):
        return CheckRow(name="compiler", state="ok", detail="not needed: the phantom was compiled before installation")
    try:
        return CheckRow(name="compiler", state="ok", detail=" ".join(find_compiler()))
    except DeviceError as error:
        return CheckRow(name="compiler", state="missing", detail="none found", advice=str(error))


def _phantom_checks(install: TorchInstall | None) -> Iterator[CheckRow]:
    try:
        libraries = build_phantom()
    except DeviceError as error:
        for name in ("phantom", "self-test"):
            yield CheckRow(name=name, state="missing", detail="unavailable", advice=str(error))
        return
    yield CheckRow(name="phantom", state="ok", detail=f"built in {libraries.folder}")
    spec = find_gpu(DEFAULT_GPU)
    environment = worker_environment(libraries, spec)
    # All libraries that are ever preloaded; without the variables of `memprof run`, the others do nothing.
    preloaded = {"LD_PRELOAD": f"{libraries.files}:{libraries.torch}:{environment['LD_PRELOAD']}"}
    found = run_self_test({**environment, **preloaded}, spec, install)
    yield CheckRow(name="self-test", state="ok" if found.passed else "warn", detail=found.detail)
    if found.loaded:
        yield _loaded_check(found.loaded, libraries.folder)
    if found.passed:
        known = "reported by cuDNN" if found.cudnn_answers else "not reported by this cuDNN"
        yield CheckRow(name="workspaces", state="ok" if found.cudnn_answers else "warn", detail=known)


def _loaded_check(loaded: Sequence[str], folder: Path) -> CheckRow:
    """Compare what a process on a phantom has loaded with what memprof has built."""
    problem = problem_of_loaded(loaded, folder)
    if problem is None:
        detail = f"{len(loaded)} libraries, each with the SHA-256 of its build"
        return CheckRow(name="loaded code", state="ok", detail=detail)
    advice = f"check LD_PRELOAD and LD_LIBRARY_PATH; remove {folder} to build the libraries again"
    return CheckRow(name="loaded code", state="warn", detail=problem, advice=advice)
