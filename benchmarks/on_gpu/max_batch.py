"""The largest batch of five models on a GPU and on its phantom, with the trials that found it: `--gpu NAME`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from memprof.config.load import load
from memprof.errors import MemprofError
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import open_session
from memprof.experiments.verify import phantom_of
from memprof.gpus.select import Device, choose_device

CONFIGS = ("resnet18", "mobilenet_v2", "vit_b_16", "hub/gpt2", "hub/bert_base")


def search(config: str, device: Device) -> dict[str, Any]:
    """Return the largest batch of a config on a device; or why there is none."""
    loaded = load(Path("configs", f"{config}.yaml"))
    started = time.monotonic()
    try:
        with open_session(loaded, device) as session:
            target = Target(config=loaded.config, optimizer=loaded.config.optimizers[0], device=device, extras=False)
            [answer] = find_max_batches(session.engine, [target], Limits())
    except MemprofError as error:
        return {"error": str(error)}
    return {
        "largest_batch_size": answer.largest_batch_size,
        "trials": len(answer.trials),
        "stopped_by": answer.stopped_by.value,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", required=True)
    gpu = choose_device(parser.parse_args().gpu)
    phantom = phantom_of(gpu)
    for config in CONFIGS:
        sides = {device.source.value: search(config, device) for device in (phantom, gpu)}
        print(json.dumps({"config": config, "gpu": gpu.name, "source": gpu.source.value, **sides}))


if __name__ == "__main__":
    main()
