"""Run as a module on a phantom: questions as JSON lines in, answers out, each from a fork that has not touched CUDA.

It needs torch and torchvision alone, so that the interpreter of another environment can run it too.
"""

from __future__ import annotations

import ctypes
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
_TRACKED = 2  # under MemTracker: the optimizer's state is there from the second on

Question = Mapping[str, Any]
Answer = dict[str, Any]


def versions(_question: Question) -> Answer:
    """The versions that the answers depend on; cuDNN's own word, since torch refuses to say another's than its own."""
    library = ctypes.CDLL("libcudnn.so.9")
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = int(library.cudnnGetVersion())
    cudnn = f"{number // 10_000}.{number % 10_000 // 100}.{number % 100}"
    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "cudnn": cudnn}


def workspace(question: Question) -> Answer:
    """The workspace's block of one convolution: the output and the workspace live together at the peak."""
    dtype = getattr(torch, question["dtype"])
    x = torch.empty(question["input_shape"], dtype=dtype, device="cuda")
    weight = torch.empty(question["weight_shape"], dtype=dtype, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output = nn.functional.conv2d(x, weight, padding=1)
    return {"bytes": torch.cuda.max_memory_allocated() - before - output.nbytes}


def phantom(question: Question) -> Answer:
    """A published run on the phantom: what the allocator took of the device, and whether memory did."""
    oom = False
    try:
        for _ in training(question, build(question), torch.device("cuda"), ITERATIONS):
            pass
    except torch.OutOfMemoryError:
        oom = True
    stats = torch.cuda.memory_stats()
    names = ("requested", "allocated", "reserved")
    return {"oom": oom, **{name: stats[f"{name}_bytes.all.peak"] for name in names}}


def memtracker(question: Question) -> Answer:
    """PyTorch's MemTracker over fake tensors on the CPU, as its own documentation uses it."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    cpu, tracker, fake = torch.device("cpu"), MemTracker(), FakeTensorMode()
    model = build(question)  # with values, which some models look at while they are built
    for module in model.modules():
        kept: Any
        for kept in (module._parameters, module._buffers):
            kept.update({name: _fake_of(fake, tensor) for name, tensor in kept.items() if tensor is not None})
    with fake:
        tracker.track_external(model)
        with tracker:
            for _ in training(question, model, cpu, _TRACKED):
                tracker.reset_mod_stats()
    return {"bytes": tracker.get_tracker_snapshot("peak")[cpu]["Total"]}


def _fake_of(mode: Any, tensor: Tensor) -> Tensor:
    fake: Tensor = mode.from_tensor(tensor)
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def torchinfo(question: Question) -> Answer:
    """The "Estimated Total Size" of torchinfo's summary, from shapes alone."""
    if importlib.util.find_spec("torchinfo") is None:
        return {"bytes": None}
    summary = importlib.import_module("torchinfo").summary
    images = torch.empty(question["batch_size"], 3, 86, 86, device="meta")
    found = summary(build(question).to("meta"), input_data=[images], device="meta", mode="train", verbose=0)
    return {"bytes": found.total_input + found.total_output_bytes + found.total_param_bytes}


def build(question: Question) -> nn.Module:
    """The run's model; 1000 classes are torchvision's default."""
    model: nn.Module = torchvision.models.get_model(question["model"], weights=None, num_classes=question["classes"])
    return model


def training(question: Question, model: nn.Module, device: torch.device, iterations: int) -> Iterator[None]:
    """The loop of the published runs, after each iteration; each batch comes while the one before is still there."""
    if device.type != "cpu":  # a model of fake tensors cannot be moved, not even to where it is
        model.to(device)
    model.train()
    optimizer = getattr(torch.optim, question["optimizer"])(params=model.parameters(), lr=0.001)
    loss_function = nn.CrossEntropyLoss()
    alive: dict[str, Tensor] = {}  # names that live until the next iteration gives them other values
    for _ in range(iterations):
        optimizer.zero_grad()
        alive["inputs"] = torch.empty(question["batch_size"], 3, 86, 86).to(device)
        alive["labels"] = torch.zeros(question["batch_size"], dtype=torch.int64).to(device)
        alive["outputs"] = model(alive["inputs"])
        alive["loss"] = loss_function(alive["outputs"], alive["labels"])
        alive["loss"].backward()
        optimizer.step()
        alive["largest"], alive["preds"] = torch.max(alive["outputs"], 1)
        yield


KINDS: Mapping[str, Callable[[Question], Answer]] = {
    kind.__name__: kind for kind in (versions, workspace, phantom, memtracker, torchinfo)
}


def answer(question: Question) -> Answer:
    """Answer one question in a fork; what goes wrong there is its answer."""
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.environ.update(
                question.get("environment", {})
            )  # the phantom reads which GPU it is at the first CUDA call
            found = KINDS[question["kind"]](question)
        except BaseException:  # noqa: BLE001  whatever the workload raises is its answer
            found = {"error": traceback.format_exc(limit=-3)}
        os.write(ours, json.dumps(found).encode())
        os._exit(0)
    os.close(ours)
    with os.fdopen(theirs, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    answered: Answer = json.loads(text) if text else {"error": "the process died"}
    return answered


def main() -> None:
    """Answer until there are no more questions."""
    torch.set_num_threads(1)  # threads do not survive a fork
    torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # the first optimizer imports torch's compiler, here for all forks
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
