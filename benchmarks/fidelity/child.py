"""Run as a module on a phantom: read tasks as JSON lines, run each in a fork without CUDA, write the results.

It needs only torch and torchvision, so that the interpreter of another environment can run it too.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

ITERATIONS = 4  # of a published run
_TRACKED = 2  # under MemTracker; the optimizer state exists from the second on

Task = Mapping[str, Any]
Result = dict[str, Any]


def versions(_task: Task) -> Result:
    """Return the versions; cuDNN's from its own library, since torch refuses one that it was not built for."""
    library = ctypes.CDLL("libcudnn.so.9")
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = int(library.cudnnGetVersion())
    cudnn = f"{number // 10_000}.{number % 10_000 // 100}.{number % 100}"
    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "cudnn": cudnn}


def workspace(task: Task) -> Result:
    """Return the bytes of one convolution's workspace: at the peak, output and workspace exist together."""
    dtype = getattr(torch, task["dtype"])
    x = torch.empty(task["input_shape"], dtype=dtype, device="cuda")
    weight = torch.empty(task["weight_shape"], dtype=dtype, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output = nn.functional.conv2d(x, weight, padding=1)
    return {"bytes": torch.cuda.max_memory_allocated() - before - output.nbytes}


def phantom(task: Task) -> Result:
    """Return the peaks of a published run on the phantom, and whether it ran out of memory."""
    oom = False
    try:
        for _ in training(task, build(task), torch.device("cuda"), ITERATIONS):
            pass
    except torch.OutOfMemoryError:
        oom = True
    stats = torch.cuda.memory_stats()
    names = ("requested", "allocated", "reserved")
    return {"oom": oom, **{name: stats[f"{name}_bytes.all.peak"] for name in names}}


def limited(task: Task) -> Result:
    """Return the reserved bytes of runs one after another, each limited to a fraction of the GPU's memory.

    What the runs before left is subtracted, as NVML's first reading is from the published figures.
    """
    found: list[int | None] = []
    for fraction in task["fractions"]:
        torch.cuda.set_per_process_memory_fraction(fraction)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        left = torch.cuda.memory_reserved()
        found.append(None if phantom(task)["oom"] else torch.cuda.max_memory_reserved() - left)
    return {"reserved": found}


def memtracker(task: Task) -> Result:
    """Run PyTorch's MemTracker with fake tensors on the CPU, as in its documentation."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    cpu, tracker, fake = torch.device("cpu"), MemTracker(), FakeTensorMode()
    model = build(task)  # with real values, since some models read them while they are built
    for module in model.modules():
        kept: Any
        for kept in (module._parameters, module._buffers):
            kept.update({name: _fake_of(fake, tensor) for name, tensor in kept.items() if tensor is not None})
    with fake:
        tracker.track_external(model)
        with tracker:
            for _ in training(task, model, cpu, _TRACKED):
                tracker.reset_mod_stats()
    return {"bytes": tracker.get_tracker_snapshot("peak")[cpu]["Total"]}


def _fake_of(mode: Any, tensor: Tensor) -> Tensor:
    fake: Tensor = mode.from_tensor(tensor)
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def torchinfo(task: Task) -> Result:
    """Return the "Estimated Total Size" of torchinfo's summary, from shapes only."""
    if importlib.util.find_spec("torchinfo") is None:
        return {"bytes": None}
    summary = importlib.import_module("torchinfo").summary
    images = torch.empty(task["batch_size"], 3, 86, 86, device="meta")
    found = summary(build(task).to("meta"), input_data=[images], device="meta", mode="train", verbose=0)
    return {"bytes": found.total_input + found.total_output_bytes + found.total_param_bytes}


def build(task: Task) -> nn.Module:
    """Return the model of the run; torchvision's default is 1000 classes."""
    model: nn.Module = torchvision.models.get_model(task["model"], weights=None, num_classes=task["classes"])
    return model


def training(task: Task, model: nn.Module, device: torch.device, iterations: int) -> Iterator[None]:
    """Run the loop of the published runs; each batch is created while the previous one still exists."""
    if device.type != "cpu":  # a model of fake tensors cannot be moved, even to its own device
        model.to(device)
    model.train()
    optimizer = getattr(torch.optim, task["optimizer"])(params=model.parameters(), lr=0.001)
    loss_function = nn.CrossEntropyLoss()
    alive: dict[str, Tensor] = {}  # they live until the next iteration replaces them
    for _ in range(iterations):
        optimizer.zero_grad()
        alive["inputs"] = torch.empty(task["batch_size"], 3, 86, 86).to(device)
        alive["labels"] = torch.zeros(task["batch_size"], dtype=torch.int64).to(device)
        alive["outputs"] = model(alive["inputs"])
        alive["loss"] = loss_function(alive["outputs"], alive["labels"])
        alive["loss"].backward()
        optimizer.step()
        alive["largest"], alive["preds"] = torch.max(alive["outputs"], 1)
        yield


KINDS: Mapping[str, Callable[[Task], Result]] = {
    kind.__name__: kind for kind in (versions, workspace, phantom, limited, memtracker, torchinfo)
}


def run(task: Task) -> Result:
    """Run one task in a fork; an error is its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.environ.update(task.get("environment", {}))  # read by the phantom at the first CUDA call
            found = KINDS[task["kind"]](task)
        except BaseException:  # noqa: BLE001  whatever the workload raises is its result
            found = {"error": traceback.format_exc(limit=-3)}
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    result: Result = json.loads(text) if text else {"error": "the process died"}
    return result


def main() -> None:
    """Run tasks until the input ends."""
    torch.set_num_threads(1)  # threads do not survive a fork
    torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # the first optimizer imports torch's compiler, here for all forks
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
