"""Train a small model with accelerate and memprof's callback; arguments: batch size, MiB to take."""

import json
import sys
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from torch.utils.data import DataLoader, TensorDataset

from memprof.integrations.accelerate import MemoryCallback


class JsonTracker(GeneralTracker):
    """Writes each entry as a line of JSON."""

    name = "json"
    requires_logging_directory = False
    tracker = None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Ignore the configuration."""

    def log(self, values: dict[str, Any], step: int | None, **_: Any) -> None:
        """Write one entry."""
        with open("log.jsonl", "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


taken = torch.empty(int(sys.argv[2]) << 20, dtype=torch.uint8, device="cuda")
batch_size = int(sys.argv[1])
accelerator = Accelerator(log_with=JsonTracker("run"), project_dir="out")
accelerator.init_trackers("run")
model = torch.nn.Linear(512, 512, bias=False)
optimizer = torch.optim.Adam(model.parameters())
loader = DataLoader(TensorDataset(torch.zeros(1, 512).expand(6 * batch_size, 512)), batch_size)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
memory = MemoryCallback(accelerator, model, optimizer, every=2)
for (batch,) in loader:
    accelerator.backward(model(batch).sum())
    optimizer.step()
    optimizer.zero_grad()
memory.close()
model(batch)  # logs nothing more
optimizer.step()
optimizer.step()
