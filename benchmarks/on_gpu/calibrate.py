"""The figures of `memprof calibrate` as one line of JSON, without changing a catalog: `--gpu NAME`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from memprof.experiments.calibrate import measure_calibration
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import choose_device


def main() -> None:
    """Print what CUDA itself takes on the GPU."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", required=True)
    device = choose_device(parser.parse_args().gpu)
    gpus = list_real_gpus()
    real = gpus[device.index] if device.source.value == "measured" else None
    print(json.dumps(asdict(measure_calibration(device, real)), default=str))


if __name__ == "__main__":
    main()
