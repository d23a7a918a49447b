"""Training loops of other packages that save checkpoints, rotate them and go on from them.

Each prints what it has seen of its own checkpoints. The folder `out` holds older checkpoints.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")
OUT = Path("out")


def transformers() -> dict[str, Any]:
    """Two runs: the second goes on from the newest checkpoint of the first."""
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    config = BertConfig(
        num_hidden_layers=1, hidden_size=64, num_attention_heads=2, intermediate_size=64, vocab_size=200
    )
    data = [{"input_ids": [1] * 16, "labels": 0}] * 64

    def train(steps: int, *, resume: bool) -> Any:
        arguments = TrainingArguments(
            str(OUT), max_steps=steps, save_steps=2, save_total_limit=1, per_device_train_batch_size=4,
            logging_steps=1, report_to=[], disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(model=BertForSequenceClassification(config), args=arguments, train_dataset=data)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    train(4, resume=False)
    after_first = sorted(os.listdir(OUT))
    trainer = train(6, resume=True)
    trainer.save_model(str(OUT / "final"))
    again = BertForSequenceClassification.from_pretrained(OUT / "final")
    return {
        "after_first": after_first,
        "after_second": sorted(os.listdir(OUT)),
        "steps": trainer.state.global_step,
        "loaded": sum(parameter.numel() for parameter in again.parameters())
        == sum(parameter.numel() for parameter in trainer.model.parameters()),
    }


def lightning() -> dict[str, Any]:
    import lightning as package
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            loss: torch.Tensor = self.layer(batch[0]).sum()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    data = DataLoader(TensorDataset(torch.randn(32, 64)), 8)

    def fit(steps: int, path: str | None) -> Any:
        saved = ModelCheckpoint(
            OUT, filename="best", save_last="link", every_n_train_steps=2, enable_version_counter=False
        )
        trainer = package.Trainer(
            max_steps=steps, accelerator="gpu", devices=1, logger=False, callbacks=[saved],
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Module(), data, ckpt_path=path)
        return trainer

    fit(4, None)
    trainer = fit(8, str(OUT / "last.ckpt"))
    module = Module.load_from_checkpoint(OUT / "best.ckpt")
    return {
        "steps": trainer.global_step,
        "files": sorted(os.listdir(OUT)),
        "loaded": list(module.layer.weight.shape),
        "link": os.path.islink(OUT / "last.ckpt"),
    }


def accelerate() -> dict[str, Any]:
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    settings = ProjectConfiguration(str(OUT), automatic_checkpoint_naming=True, total_limit=2, iteration=1)
    accelerator = Accelerator(project_config=settings)
    model = nn.Linear(64, 64)
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters()))
    for _ in range(3):
        accelerator.backward(model(torch.randn(8, 64, device=accelerator.device)).sum())
        optimizer.step()
        accelerator.save_state()
    accelerator.load_state()
    settings.automatic_checkpoint_naming = False
    accelerator.save_state(str(OUT / "state"), safe_serialization=False)
    accelerator.load_state(str(OUT / "state"))
    return {
        "folders": sorted(os.listdir(OUT / "checkpoints")),
        "files": sorted(os.listdir(OUT / "state")),
        "steps": len(optimizer.state),
    }


if __name__ == "__main__":
    found = {"transformers": transformers, "lightning": lightning, "accelerate": accelerate}[sys.argv[1]]()
    print(json.dumps({**found, "device": torch.cuda.get_device_name()}))
