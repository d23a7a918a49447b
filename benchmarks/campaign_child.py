"""One training step of one torchvision model: on the GPU or the phantom that this process sees, or under MemTracker.

The parent is in campaign.py. A server, which has imported torch once, forks a child for each line of its input, and the
child answers with one line of JSON; a child that crashes answers nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision import models
from torchvision.models import detection, segmentation
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from memprof.gpus.phantom.values import host_values

BATCH, CLASSES, LEARNING_RATE = 2, 10, 1e-3
SEED = 0  # detection models resize their images to random sizes
SECONDS_LIMIT = 900
# Inputs other than 224x224, from the pages of torchvision's pretrained weights.
SIDES = {"inception_v3": 299, "ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}
SEGMENTATION_SIDE, DETECTION_SIDE = 256, 320


def names() -> list[str]:
    """The classification, detection and segmentation models of the installed torchvision."""
    return [name for part in (models, detection, segmentation) for name in models.list_models(module=part)]


def family(name: str) -> str:
    """What kind of model it is."""
    kinds = {"detection": detection, "segmentation": segmentation}
    kind = next((kind for kind, part in kinds.items() if name in models.list_models(module=part)), "classification")
    return f"torchvision, {kind}"


class WithoutDrawing(TorchFunctionMode):
    """Sets first weights to zero instead of drawing them, which takes minutes for large models and changes no byte."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(function, "__name__", "") not in ("uniform_", "normal_", "erfinv_"):
            return function(*args, **named)
        drawn: Tensor = args[0] if args else named["tensor"]
        drawn.detach().zero_()
        return drawn


def build(name: str) -> nn.Module:
    """The model in training mode on the CPU: what RegNet computes its widths with must not be zeros."""
    options: dict[str, Any] = {"weights": None}
    if name in models.list_models(module=detection) or name in models.list_models(module=segmentation):
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # which takes half a minute on the CPU
    with WithoutDrawing():
        model: nn.Module = models.get_model(name, **options)
    return model.train()


def loss_of(name: str, model: nn.Module, device: str) -> Tensor:
    """The loss of one batch of zeros, which is what images are on a phantom."""
    if name in models.list_models(module=detection):
        return detection_loss(name, model, device)
    segments = name in models.list_models(module=segmentation)
    side = SEGMENTATION_SIDE if segments else SIDES.get(name, 224)
    images = torch.zeros(BATCH, 3, side, side, device=device)
    target = torch.zeros((BATCH, side, side) if segments else (BATCH,), dtype=torch.long, device=device)
    output = model(images)
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple) else [output]
    return sum((nn.functional.cross_entropy(part, target) for part in parts), start=torch.zeros((), device=device))


def detection_loss(name: str, model: nn.Module, device: str) -> Tensor:
    side = SIDES.get(name, DETECTION_SIDE)
    images = [torch.zeros(3, side, side, device=device) for _ in range(BATCH)]
    target = {
        "boxes": torch.tensor([[10.0, 10.0, 100.0, 120.0], [30.0, 40.0, 200.0, 180.0]], device=device),
        "labels": torch.ones(2, dtype=torch.long, device=device),
        "masks": torch.zeros(2, side, side, dtype=torch.uint8, device=device),
        "keypoints": torch.ones(2, 17, 3, device=device),
    }
    return sum(model(images, [target] * BATCH).values(), start=torch.zeros((), device=device))


def cuda_step(name: str) -> dict[str, Any]:
    """Three steps with SGD and momentum on CUDA; the third's history tells what cuDNN holds at the peak."""
    torch.manual_seed(SEED)
    model = build(name).cuda()
    drawn = ImageSizes(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(name, model, "cuda").backward()
        optimizer.step()

    step()
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    stats, sizes = torch.cuda.memory_stats(), str(drawn)
    torch.cuda.memory._record_memory_history(context="alloc", stacks="all")
    step()
    [history] = torch.cuda.memory._snapshot()["device_traces"]
    torch.cuda.memory._record_memory_history(enabled=None)
    kept = torch.cuda.memory_stats()["requested_bytes.all.current"]
    torch._C._cuda_clearCublasWorkspaces()
    return {
        "peak_bytes": stats["allocated_bytes.all.peak"],
        "requested_bytes": stats["requested_bytes.all.peak"],
        "reserved_bytes": stats["reserved_bytes.all.peak"],
        "cublas_bytes": kept
        - torch.cuda.memory_stats()["requested_bytes.all.current"],  # they stay once they are there
        "cudnn_bytes": cudnn_at_peak(history),
        "parameters": sum(p.numel() for p in model.parameters()),
        "step_seconds": seconds,
        "image_sizes": sizes,
        "seed": SEED,
    }


class ImageSizes:
    """The sizes that a detection model resized the images of each step to; as text, in the order of the steps."""

    def __init__(self, model: nn.Module) -> None:
        self._steps: list[str] = []
        for part in model.children():
            if isinstance(part, GeneralizedRCNNTransform):
                part.register_forward_hook(self._note)

    def _note(self, _module: nn.Module, _args: Any, result: Any) -> None:
        self._steps.append(" ".join(f"{height}x{width}" for height, width in result[0].image_sizes))

    def __str__(self) -> str:
        return "; ".join(self._steps)


def about() -> dict[str, Any]:
    """The GPU or phantom that this process sees, and the versions that decide a model's peaks."""
    number = torch.backends.cudnn.version() or 0
    cudnn = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, cuDNN {cudnn}"
    return {"gpu": torch.cuda.get_device_name(), "versions": versions}


def cudnn_at_peak(history: list[dict[str, Any]]) -> int:
    """Bytes of the workspaces of cuDNN's plans that are alive at the highest moment of the history."""
    alive: dict[int, dict[str, Any]] = {}
    held = highest = found = 0
    for event in history:
        if event["action"] == "alloc":
            alive[event["addr"]] = event
            held += event["size"]
        elif event["action"] == "free_completed" and event["addr"] in alive:
            held -= alive.pop(event["addr"])["size"]
        if held > highest:
            highest, found = held, sum(other["size"] for other in alive.values() if is_workspace(other))
    return found


def is_workspace(event: dict[str, Any]) -> bool:
    return any("run_conv_plan" in frame["name"] for frame in event["frames"])


def tracker_step(name: str) -> dict[str, Any]:
    """The same two steps under PyTorch's MemTracker and fake tensors on the CPU, as its documentation uses it."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    tracker, fake = MemTracker(), FakeTensorMode()
    model = build(name)
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for kept in tables:
            kept.update({key: fake_of(fake, tensor) for key, tensor in kept.items() if tensor is not None})
    with fake:
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
        tracker.track_external(model, optimizer)
        with tracker:
            for _ in range(2):
                optimizer.zero_grad()
                loss_of(name, model, "cpu").backward()
                optimizer.step()
                tracker.reset_mod_stats()
    return {"peak_bytes": tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]}


def fake_of(mode: Any, tensor: Tensor) -> Tensor:
    fake: Tensor = mode.from_tensor(tensor)
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def step_with_values(name: str) -> dict[str, Any]:
    """The same steps with values of the CPU, on a phantom, and what these took."""
    with host_values() as cost:
        found = cuda_step(name)
    return {
        **found,
        "values_operators": cost.operators_run,
        "values_seconds": cost.seconds,
        "values_bytes": cost.memory.peak_bytes,
    }


def answer(kind: str, name: str) -> dict[str, Any]:
    signal.alarm(SECONDS_LIMIT)  # a hang is a crash
    warnings.simplefilter("ignore")
    try:
        if kind == "about":
            return about()
        return {"step": cuda_step, "values": step_with_values, "tracker": tracker_step}[kind](name)
    except Exception as error:  # noqa: BLE001  a model that fails is a row
        first = (str(error).splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {first[:160]}"}


def serve(answer: Callable[[str, str], dict[str, Any]] = answer) -> None:
    """Read lines of a kind and a name; for each print one line of JSON, with how the child ended if it crashed."""
    for line in sys.stdin:
        kind, name = line.split()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.write(writing, json.dumps(answer(kind, name)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(text or json.dumps({"crash": status}), flush=True)


if __name__ == "__main__":
    print(json.dumps(names()), flush=True)
    serve()
