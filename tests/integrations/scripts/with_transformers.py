"""Train a small model with the Trainer and memprof's callback; arguments: batch size, MiB to take."""

import json
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from memprof.integrations.transformers import MemoryCallback

taken = torch.empty(int(sys.argv[2]) << 20, dtype=torch.uint8, device="cuda")
config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256)
model = BertForSequenceClassification(config)
samples = [{"input_ids": [101] * 128, "labels": 0}] * 64
arguments = TrainingArguments(
    "out",
    max_steps=6,
    per_device_train_batch_size=int(sys.argv[1]),
    per_device_eval_batch_size=8,
    eval_strategy="steps",
    eval_steps=3,
    logging_steps=2,
    report_to=[],
    save_strategy="no",
    disable_tqdm=True,
)
trainer = Trainer(model=model, args=arguments, train_dataset=samples * 100_000, eval_dataset=samples)
trainer.add_callback(MemoryCallback(trainer))
trainer.train()
entries = [entry for entry in trainer.state.log_history if "memory/device" in entry]
Path("entries.json").write_text(json.dumps(entries))
