"""A training loop with Accelerate. The script knows nothing of memprof.

memprof run --gpu t4 -- python examples/accelerate_loop.py
"""

import torch
import torchvision
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator()


@find_executable_batch_size(starting_batch_size=192)
def train(batch_size: int) -> int:
    """Train for three steps. Accelerate calls this again with a smaller batch after an out-of-memory error."""
    accelerator.free_memory()
    model = torchvision.models.resnet50()
    samples = TensorDataset(torch.zeros(3 * batch_size, 3, 224, 224), torch.zeros(3 * batch_size, dtype=torch.long))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(samples, batch_size))
    for images, classes in loader:
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.cross_entropy(model(images), classes))
        optimizer.step()
    return batch_size


print(f"trains with batch {train()} on {accelerator.device}")
