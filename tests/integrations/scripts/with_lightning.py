"""Train a small model with Lightning and memprof's callback; arguments: batch size, MiB to take."""

import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from memprof.integrations.lightning import MemoryCallback


class Model(LightningModule):
    """A layer of 1 MiB, which needs 1 MiB of gradients and 2 MiB of optimizer state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(512, 512, bias=False)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return a loss."""
        loss: torch.Tensor = self.layer(batch[0]).sum()
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return a loss."""
        loss: torch.Tensor = self.layer(batch[0]).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters())


taken = torch.empty(int(sys.argv[2]) << 20, dtype=torch.uint8, device="cuda")
batch_size = int(sys.argv[1])
loader = DataLoader(TensorDataset(torch.zeros(1, 512).expand(6 * batch_size, 512)), batch_size)
trainer = Trainer(
    max_epochs=1,
    logger=CSVLogger("logs"),
    log_every_n_steps=2,
    callbacks=[MemoryCallback()],
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Model(), loader, DataLoader(TensorDataset(torch.zeros(8, 512)), 8))
