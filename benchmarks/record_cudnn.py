"""`python -m benchmarks.record_cudnn`: the plan and the workspace of each convolution, on a GPU and on its phantom.

The convolutions are those of torchvision models whose workspaces differ on an H200. Each line of the output is one
operation as JSON: its tensors, the engine and the knobs of cuDNN's plan, and the workspace on both sides. cuDNN 9.10
does not log its plans; they are null then. From these lines, workspaces that cuDNN reports differently without a device
can be modelled. `--model NAME`, which may be repeated, selects models; `--gpu NAME` names a phantom instead of the real
GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.both_sides import chosen
from memprof.gpus.select import Device

# Of docs/fidelity: the models of `memprof verify` and the classification models that differ most.
MODELS = (
    "resnet18", "resnet50", "mobilenet_v2", "vgg11", "densenet121", "efficientnet_b0", "shufflenet_v2_x1_5",
    "convnext_tiny", "regnet_y_400mf", "mnasnet1_0", "inception_v3",
)  # fmt: skip


def record(gpu: Device, phantom: Device, models: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the operations of the models, each once, with the workspace on the GPU and on its phantom."""
    with ExitStack() as stack:
        sides = [stack.enter_context(_open_child(device, models)) for device in (gpu, phantom)]
        for measured, emulated in zip(*sides, strict=True):
            same = measured["plan"] == emulated["plan"]
            yield {
                **measured,
                "source": gpu.source.value,
                "emulated_workspace_bytes": emulated["workspace_bytes"],
                "emulated_plan": "same" if same else emulated["plan"],
            }


@contextmanager
def _open_child(device: Device, models: Sequence[str]) -> Iterator[Iterator[dict[str, Any]]]:
    """Start the process that runs the operations on a device; its lines come as they are ready."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "cudnn.log")
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "benchmarks.record_cudnn_child", str(log), *models],
            env={
                **os.environ,
                **device.environment,
                "CUDNN_LOGLEVEL_DBG": "3",
                "CUDNN_LOGDEST_DBG": str(log),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()  # after the last line it has ended already
            process.communicate()


def main() -> int:
    """Print the lines; the exit status is 4 without a GPU."""
    sides = chosen("record_cudnn", __doc__)
    for line in record(sides.gpu, sides.phantom, sides.models or MODELS):
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
