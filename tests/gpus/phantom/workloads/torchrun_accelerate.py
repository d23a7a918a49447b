"""An ordinary script with accelerate and FSDP2."""

from __future__ import annotations

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils import gather_object
from transformers import LlamaConfig, LlamaForCausalLM

plugin = FullyShardedDataParallelPlugin(
    fsdp_version=2,
    auto_wrap_policy="transformer_based_wrap",
    transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
    state_dict_type="SHARDED_STATE_DICT",
    cpu_ram_efficient_loading=False,
)
accelerator = Accelerator(mixed_precision="bf16", fsdp_plugin=plugin)
model = LlamaForCausalLM(
    LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=256,
    )
)  # fmt: skip
optimizer = torch.optim.AdamW(model.parameters())
texts = torch.utils.data.TensorDataset(torch.arange(8 * 16).reshape(8, 16))
loader = torch.utils.data.DataLoader(texts, batch_size=2)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for (ids,) in loader:
    firsts = accelerator.gather(ids[:, 0].contiguous()).tolist()
    accelerator.backward(model(input_ids=ids, labels=ids).loss)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
accelerator.save_state("state")
accelerator.load_state("state")
told = gather_object([f"rank {accelerator.process_index}"])
print(f"\n{accelerator.process_index}: {told}, last batch {firsts}\n", end="", flush=True)
accelerator.end_training()
