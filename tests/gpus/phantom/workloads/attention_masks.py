"""How many blocks of the size of a dense attention mask transformers allocates without an `attention_mask`.

Each sequence of an ordinary batch has the positions 0, 1, 2, ...; a packed one starts again in its middle, and needs a
mask.
"""

from __future__ import annotations

import json

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def gpt2() -> nn.Module:
    model: nn.Module = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=64, n_head=4, vocab_size=100, use_cache=False))
    return model


def llama() -> nn.Module:
    model: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=100,
            use_cache=False,
        )
    )
    return model


def count_masks(model: nn.Module, batch: int, length: int, positions: torch.Tensor | None) -> int:
    tokens = torch.zeros(batch, length, dtype=torch.long, device="cuda")
    torch.cuda.memory._record_memory_history(max_entries=100_000)
    model(input_ids=tokens, labels=tokens, position_ids=positions).loss.backward()
    (events,) = torch.cuda.memory._snapshot()["device_traces"]
    torch.cuda.memory._record_memory_history(enabled=None)
    return sum(event["action"] == "alloc" and event["size"] == batch * length * length for event in events)


def main() -> None:
    found = {}
    for make in (gpt2, llama):
        for batch, length in ((3, 160), (10, 960)):
            model = make().cuda()
            packed = torch.arange(length, device="cuda").remainder(length // 2).expand(batch, -1)
            found[f"{make.__name__}, {batch} x {length}"] = {
                "ordinary": count_masks(model, batch, length, None),
                "packed": count_masks(model, batch, length, packed),
            }
    print(json.dumps(found))


main()
