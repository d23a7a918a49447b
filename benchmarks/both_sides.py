"""The options of benchmarks that run models on a GPU and on its phantom."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from memprof.errors import DeviceError
from memprof.experiments.verify import phantom_of
from memprof.gpus.select import Device, choose_device


@dataclass(frozen=True, kw_only=True)
class BothSides:
    """The GPU that `--gpu` names, its phantom, and the models of `--model`, which may be repeated."""

    gpu: Device
    phantom: Device
    models: tuple[str, ...]


def chosen(program: str, description: str | None) -> BothSides:
    """Return what the command line selects. The program ends with status 4 and one line if there is no such GPU."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=description)
    parser.add_argument("--model", action="append", default=[], metavar="NAME")
    parser.add_argument("--gpu", default="cuda:0", metavar="NAME")
    options = parser.parse_args()
    try:
        gpu = choose_device(options.gpu)
        return BothSides(gpu=gpu, phantom=phantom_of(gpu), models=tuple(options.model))
    except DeviceError as error:
        parser.exit(4, f"{program}: {error}\n")
