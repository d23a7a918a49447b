"""The wall time of a measured point against the same steps in a bare loop: `--gpu NAME`. The goal is at most 1.05 x.

Both begin with a model on the host and end with the figures of the last step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.gpus.select import Device, choose_device
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Point

CONFIG, BATCH_SIZE, STEPS, ROUNDS = "resnet50", 32, 20, 3
GOAL = 1.05
_BARE = f"""
import time, torch, torchvision
model = torchvision.models.resnet50()
loss_function = torch.nn.CrossEntropyLoss()
started = time.perf_counter()
model.cuda().train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range({STEPS}):
    images, labels = torch.rand({BATCH_SIZE}, 3, 224, 224), torch.zeros({BATCH_SIZE}, dtype=torch.int64)
    images, labels = images.cuda(), labels.cuda()
    optimizer.zero_grad()
    loss_function(model(images), labels).backward()
    optimizer.step()
torch.cuda.synchronize()
torch.cuda.memory_stats()
print(time.perf_counter() - started)
"""


def bare_seconds(device: Device) -> float:
    """Return the time of the bare loop in a process of its own, without its imports."""
    done = subprocess.run(
        [sys.executable, "-c", _BARE],
        env={**os.environ, **device.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def point_seconds(client: WorkerClient, point: Point) -> float:
    """Return the time of one point in a worker that runs already."""
    started = time.perf_counter()
    [outcome] = client.outcomes([point], jobs=1)
    if outcome.error is not None:
        raise RuntimeError(outcome.error)
    return time.perf_counter() - started


def main() -> None:
    """Print a line with both times and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", required=True)
    device = choose_device(parser.parse_args().gpu)
    settings = [
        Override(flag=Flag.BATCH_SIZE, text=str(BATCH_SIZE)),
        Override(flag=Flag.OPTIMIZER, text="sgd+momentum"),
        Override(flag=Flag.SET, text=f"steps={STEPS}"),
    ]
    bare, point = [], []
    loaded = load(Path("configs", f"{CONFIG}.yaml"), settings)
    [measured] = loaded.config.points()
    with WorkerClient(loaded, device) as client:
        client.environment()
        for _ in range(ROUNDS):
            bare.append(bare_seconds(device))
            point.append(point_seconds(client, measured))
    ratio = median(point) / median(bare)
    print(
        json.dumps(
            {
                "gpu": device.name,
                "source": device.source.value,
                "config": CONFIG,
                "batch_size": BATCH_SIZE,
                "steps": STEPS,
                "bare_seconds": [round(seconds, 3) for seconds in bare],
                "point_seconds": [round(seconds, 3) for seconds in point],
                "ratio": round(ratio, 3),
                "goal": GOAL,
            }
        )
    )


if __name__ == "__main__":
    main()
