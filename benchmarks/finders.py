"""`python -m benchmarks.finders FINDER MODEL BATCH_SIZE`: one search for the largest batch size, as JSON.

The searches are those of each tool's documentation; they do not know memprof or the phantom GPU. Their time starts
after the imports. BATCH_SIZE is where the search starts; the finder `steps` only trains with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

_STEPS_PER_TRIAL = 3  # Lightning's default
_STEPS = 10
_MAX_TRIALS = 25  # Lightning's default
_SAMPLES = 1 << 16  # a dataset that no batch size exhausts
Found = dict[str, Any]  # batch_size: None if it failed; trials: the batch sizes in order


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of all finders, which memprof's configs call sgd+momentum."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def train(model_name: str, batch_size: int, steps: int) -> None:
    """Train a new model with the loop of PyTorch's tutorials."""
    model = torchvision.models.get_model(model_name).cuda().train()
    optimizer = make_optimizer(model)
    loaded = collate([0] * batch_size)
    for _ in range(steps):
        images, classes = (tensor.cuda() for tensor in loaded)
        optimizer.zero_grad()
        output = model(images)  # it lives until the next one replaces it, like the loss
        loss: Any = nn.functional.cross_entropy(output, classes)
        loss.backward()
        optimizer.step()
        loss.item()


def collate(samples: list[int]) -> tuple[Tensor, Tensor]:
    """Return a batch of zeros, which needs no time to load."""
    return torch.zeros(len(samples), 3, 224, 224), torch.zeros(len(samples), dtype=torch.long)


def run_steps(model_name: str, batch_size: int) -> Found:
    """Train with one batch size for ten steps in this new process."""
    try:
        train(model_name, batch_size, _STEPS)
    except torch.OutOfMemoryError:
        return {"batch_size": None, "trials": [batch_size]}
    return {"batch_size": batch_size, "trials": [batch_size]}


def run_accelerate(model_name: str, start: int) -> Found:
    """Run find_executable_batch_size around the training loop; it reduces the batch by its own factor."""
    accelerate_utils = importlib.import_module("accelerate.utils")
    trials: list[int] = []

    def search() -> int:
        @accelerate_utils.find_executable_batch_size(starting_batch_size=start)  # type: ignore[untyped-decorator]
        def attempt(batch_size: int) -> int:
            trials.append(batch_size)
            train(model_name, batch_size, _STEPS_PER_TRIAL)
            return batch_size

        found: int = attempt()
        return found

    return {"batch_size": search(), "trials": trials}


def run_lightning(model_name: str, start: int) -> Found:
    """Run Tuner.scale_batch_size in mode binsearch; its result is 5 % below what trained, its default margin."""
    lightning = importlib.import_module("lightning.pytorch")
    tuner = importlib.import_module("lightning.pytorch.tuner").Tuner
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trials: list[int] = []

    class Module(lightning.LightningModule):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = torchvision.models.get_model(model_name)
            self.batch_size = start

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            images, classes = batch
            if not trials or trials[-1] != len(images):
                trials.append(len(images))
            return nn.functional.cross_entropy(self.model(images), classes)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self)

        def train_dataloader(self) -> torch.utils.data.DataLoader[int]:
            samples: Any = range(_SAMPLES)
            return torch.utils.data.DataLoader(samples, batch_size=self.batch_size, collate_fn=collate)

    with tempfile.TemporaryDirectory() as folder:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(accelerator="gpu", devices=1, default_root_dir=folder, **quiet)
        found = tuner(trainer).scale_batch_size(
            Module(), mode="binsearch", init_val=start, steps_per_trial=_STEPS_PER_TRIAL, max_trials=_MAX_TRIALS
        )
    return {"batch_size": found, "trials": trials}


FINDERS: Mapping[str, Callable[[str, int], Found]] = {
    "accelerate": run_accelerate,
    "lightning": run_lightning,
    "steps": run_steps,
}
_IMPORTS = {"accelerate": "accelerate.utils", "lightning": "lightning.pytorch"}


def main(finder: str, model_name: str, batch_size: str) -> None:
    """Run one search and print its result: `installed`, and if that is true, a `Found` and its seconds."""
    module = _IMPORTS.get(finder, "torch")
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        print(json.dumps({"installed": False}))
        return
    importlib.import_module(module)
    started = time.perf_counter()
    try:
        found = FINDERS[finder](model_name, int(batch_size))
    except RuntimeError as error:
        found = {"batch_size": None, "trials": [], "error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"installed": True, **found, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
