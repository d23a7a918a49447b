"""One of four processes that train a model of litgpt with all weights, as litgpt/finetune/full.py does under Fabric.

`memprof run --gpu a10g --rank 0 --world-size 4 -- python configs/published/litgpt_four_gpus.py Gemma-2b 1`: the model,
and the samples in a micro-batch. Of a step's micro-batches two run. The first one does not exchange its gradients.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from litgpt.model import Block
from torch.distributed import init_process_group
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

sys.path.insert(0, str(Path(__file__).parent))
from litgpt_model import MAX_SEQ_LENGTH, full

STEPS = 3


def main(name: str, batch_size: int) -> None:
    """Run the steps."""
    init_process_group("nccl")
    torch.cuda.set_device(0)
    model = FullyShardedDataParallel(
        full(name).to(torch.bfloat16),
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        device_id=torch.device("cuda", 0),
        param_init_fn=partial(torch.nn.Module.to_empty, device=torch.device("cuda", 0), recurse=False),
        use_orig_params=True,
        limit_all_gathers=True,
    )
    apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Block))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=0.0, betas=(0.9, 0.95))
    for _ in range(STEPS):
        for last in (False, True):
            tokens = torch.zeros(batch_size, MAX_SEQ_LENGTH, dtype=torch.long, device="cuda")
            with nullcontext() if last else model.no_sync():
                (model(tokens, tokens) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
