"""Train BERT for three steps with the Trainer. The script knows nothing of memprof.

memprof run --gpu rtx-4090 -- python examples/hugging_face_trainer.py
"""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

# BERT-base with random weights: nothing is downloaded.
model = BertForSequenceClassification(BertConfig())
samples = [{"input_ids": [101] * 128, "labels": 0}] * 96

with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        max_steps=3,
        per_device_train_batch_size=32,
        bf16=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    Trainer(model=model, args=arguments, train_dataset=samples).train()

print(f"\npeak allocated: {torch.cuda.max_memory_allocated() / 2**20:,.2f} MiB")
