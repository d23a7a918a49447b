"""Training loops of other packages, unchanged, on the device: LoRA, Lightning's Trainer, transformers' Trainer."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")


def lora() -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    adapters = LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)
    model = get_peft_model(GPT2LMHeadModel(GPT2Config(n_layer=2)), adapters).cuda()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, tokens = torch.optim.AdamW(trained), torch.zeros(2, 64, dtype=torch.long, device="cuda")
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    total = sum(p.numel() for p in model.parameters())
    return {"trained": sum(p.numel() for p in trained), "total": total, "states": len(optimizer.state)}


def lightning() -> dict[str, Any]:
    import lightning as package

    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 4)

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            x, y = batch
            loss = nn.functional.cross_entropy(self.layer(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    data = DataLoader(TensorDataset(torch.randn(64, 16), torch.zeros(64, dtype=torch.long)), 8, pin_memory=True)
    trainer = package.Trainer(
        max_steps=3, accelerator="gpu", devices=1, precision="16-mixed", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), data)
    return {"steps": trainer.global_step, "device": str(trainer.strategy.root_device)}


def transformers() -> dict[str, Any]:
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    model = BertForSequenceClassification(BertConfig(num_hidden_layers=2))
    data = [{"input_ids": [1] * 32, "labels": 0}] * 24
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=3, per_device_train_batch_size=8, bf16=True, report_to=[], save_strategy="no"
        )
        steps = Trainer(model=model, args=arguments, train_dataset=data).train().global_step
    return {"steps": steps, "device": str(next(model.parameters()).device)}


found = {"lora": lora, "lightning": lightning, "transformers": transformers}[sys.argv[1]]()
print(json.dumps({**found, "peak": torch.cuda.max_memory_allocated()}))
