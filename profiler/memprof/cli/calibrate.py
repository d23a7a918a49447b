"""`memprof calibrate`: what CUDA takes on a real GPU, measured, so that phantoms of that card take it too."""

from __future__ import annotations

import re
from dataclasses import asdict

from memprof.cli.console import print_json, stdout
from memprof.errors import ConfigError, DeviceError, ExitCode
from memprof.experiments.calibrate import Calibration, measure_calibration, save_calibration
from memprof.gpus.catalog import load_catalog, own_catalog
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import choose_device
from memprof.records import SCHEMA_VERSION
from memprof.report.terminal.calibrate import calibration_table

_REAL = re.compile(r"cuda(:\d+)?")


def run(gpu: str, json: bool) -> ExitCode:
    """Measure the context of a real GPU and write it into the user's own catalog file.

    Raises:
        ConfigError: `gpu` is not ``cuda:N``, or the user's own catalog is wrong.
        DeviceError: there is no real GPU here, or it cannot be measured.
        ResultError: the file cannot be written.
    """
    if not _REAL.fullmatch(gpu):
        raise ConfigError(f"--gpu {gpu}: calibrate measures a real GPU, so it must be cuda:N")
    file, gpus = own_catalog(), list_real_gpus()
    if not gpus:
        raise DeviceError(
            "calibrate needs a real GPU, and there is none here; it would measure what a CUDA context takes, and what "
            f"the first kernels of PyTorch, cuBLAS and cuDNN add, and write that into {file}"
        )
    load_catalog()  # a file of the user's own that is wrong is said before anything is measured
    card = choose_device(gpu)
    found = measure_calibration(card, gpus[card.index])
    key = save_calibration(found, file)
    if json:
        print_json(_json(found, key, str(file)))
    else:
        stdout().print(calibration_table(found))
        stdout().print(f"saved in {file}: --gpu {key} takes these figures from now on", soft_wrap=True)
    return ExitCode.OK


def _json(found: Calibration, key: str, file: str) -> dict[str, object]:
    return {"schema_version": SCHEMA_VERSION, "gpu": key, "file": file, **asdict(found)}
