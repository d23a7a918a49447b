"""`memprof calibrate`: measure what CUDA itself uses on a real GPU, so that phantoms of it use the same."""

from __future__ import annotations

import re
from dataclasses import asdict

from memprof.cli import options
from memprof.cli.console import print_json, stdout
from memprof.errors import ConfigError, DeviceError, ExitCode
from memprof.experiments.calibrate import Calibration, measure_calibration, save_calibration
from memprof.gpus.catalog import load_catalog, own_catalog
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import choose_device
from memprof.records import SCHEMA_VERSION
from memprof.report.terminal.calibrate import calibration_table

EXAMPLES = """\
memprof calibrate
memprof calibrate --gpu cuda:1 --json"""
_REAL = re.compile(r"cuda(:\d+)?")


def command(gpu: options.RealGpu = "cuda:0", json: options.Json = False) -> int:
    """Measure the context of a real GPU."""
    return run(gpu, json)


def run(gpu: str, json: bool) -> ExitCode:
    """Measure the context of a real GPU and write it into the user's own catalog file.

    Raises:
        ConfigError: `gpu` is not ``cuda:N``, or the user's own catalog is wrong.
        DeviceError: no real GPU was found, or it cannot be measured.
        ResultError: the file cannot be written.
    """
    if not _REAL.fullmatch(gpu):
        raise ConfigError(f"--gpu {gpu}: calibrate measures a real GPU, so it must be cuda:N")
    file, gpus = own_catalog(), list_real_gpus()
    if not gpus:
        raise DeviceError(
            "calibrate needs a real GPU, and none was found; it would measure the CUDA context and what the first "
            f"kernels of PyTorch, cuBLAS and cuDNN add, and write both to {file}"
        )
    load_catalog()  # reports an error in the user's own file before anything is measured
    device = choose_device(gpu)
    found = measure_calibration(device, gpus[device.index])
    key = save_calibration(found, file)
    if json:
        print_json(_json(found, key, str(file)))
    else:
        stdout().print(calibration_table(found))
        stdout().print(f"saved in {file}: --gpu {key} uses these figures from now on", soft_wrap=True)
    return ExitCode.OK


def _json(found: Calibration, key: str, file: str) -> dict[str, object]:
    return {"schema_version": SCHEMA_VERSION, "gpu": key, "file": file, **asdict(found)}
