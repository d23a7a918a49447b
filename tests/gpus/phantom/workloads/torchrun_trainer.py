"""An ordinary script with transformers' Trainer, which evaluates, saves and continues."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

CONFIG = LlamaConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=256,
)  # fmt: skip


class Texts(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        ids = torch.full((16,), i)
        return {"input_ids": ids, "labels": ids}


def trainer(epochs: int) -> Trainer:
    arguments = TrainingArguments(
        "out", per_device_train_batch_size=2, num_train_epochs=epochs, save_strategy="epoch", eval_strategy="epoch",
        report_to=[], bf16=True, disable_tqdm=True,
    )  # fmt: skip
    return Trainer(LlamaForCausalLM(CONFIG), arguments, train_dataset=Texts(), eval_dataset=Texts())


first, second = trainer(1), trainer(2)
first.train()
second.train(resume_from_checkpoint="out/checkpoint-2")
steps = [each.state.global_step for each in (first, second)]
print(f"\n{first.args.process_index}: {steps} steps of {first.args.world_size} ranks\n", end="", flush=True)
