"""Loops of one's own, followed where they stand: exact, and nothing of the following is left behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_SETUP = """
import json
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from profiler import track

def answer(t, **more):
    e = t.explain().explanation
    print(json.dumps({
        "peak": e.peak_allocated_bytes, "parts": dict(e.allocated_parts), "highest": dict(e.highest_parts),
        "sum": sum(b.block_bytes for b in e.blocks), "unknown": e.unknown_reason, "reserved": e.peak_reserved_bytes,
        "device": [e.nvml_used_bytes, sum(e.device_parts.values())], "text": str(t.explain()),
        "max": [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()],
        "steps": [m.step for m in e.steps], "phase": e.peak.phase, "named": dict(e.named), **more,
    }))

def net():
    return nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 10)).cuda()
"""


def tracked(run_on_phantom: Run, body: str) -> dict[str, Any]:
    done = run_on_phantom(_SETUP + body)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["unknown"] is None
    assert found["sum"] == sum(found["parts"].values()) == found["peak"]
    assert found["device"][0] == found["device"][1]
    return found


def test_a_loop_with_autocast_and_a_scaler(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
model = net()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
scaler = torch.amp.GradScaler("cuda")
with track(model, optimizer) as t:
    for _ in range(3):
        batch, target = torch.zeros(256, 512).cuda(), torch.zeros(256, dtype=torch.long).cuda()
        optimizer.zero_grad()
        with torch.autocast("cuda"):
            loss = nn.functional.cross_entropy(model(batch), target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
weights = sum(p.numel() * 4 for p in model.parameters())
answer(t, weights=weights, left=[k for m in model.modules() for k in vars(m) if k == "forward"])
""",
    )
    assert (found["peak"], found["reserved"]) == tuple(found["max"])
    assert found["steps"] == [1, 2, 3]
    assert found["highest"]["parameters"] == found["highest"]["gradients"] == found["weights"]
    assert 2 * found["weights"] <= found["highest"]["optimizer_state"] <= 2 * found["weights"] + 16
    assert found["highest"]["input"] >= 256 * 512 * 4
    assert found["highest"]["unknown"] < 4096  # the scaler's own numbers
    assert found["left"] == []


def test_two_optimizers_accumulation_and_checkpointing(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(512, 512), nn.GELU()) for _ in range(4))
    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x
model = Blocks().cuda()
halves = [torch.optim.SGD(b.parameters(), lr=0.1, momentum=0.9) for b in (model.blocks[:2], model.blocks[2:])]
with track(model, halves) as t:
    for _ in range(2):
        for _ in range(2):
            model(torch.zeros(1024, 512, device="cuda")).sum().backward()
        for half in halves:
            half.step()
            half.zero_grad()
answer(t)
""",
    )
    assert found["peak"] == found["max"][0]
    assert found["highest"]["optimizer_state"] == found["highest"]["parameters"]
    assert found["highest"]["unknown"] == 0


def test_the_published_attention_is_made_of_named_blocks(run_on_phantom: Run) -> None:
    workload = (Path(__file__).parents[1] / "phantom" / "workloads" / "attention.py").read_text()
    functions = workload[workload.index("def softmax") : workload.index("def run")]
    body = f"""
from torch import Tensor
{functions}
with track() as t:
    inputs = [torch.randn(8, 4096, 16, device="cuda", requires_grad=True) for _ in range(3)]
    output = attention(*inputs)
    loss = output.sum()
    loss.backward()
answer(t)
"""
    done = run_on_phantom(_SETUP + body, gpu="a100-40gb", TORCH_CUBLAS_WORKSPACE_CACHE="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak"] == found["sum"] == 3_249_144_832
    assert found["parts"]["unknown"] == 0
    assert found["parts"]["parameters"] == 3 * 8 * 4096 * 16 * 4  # query, key and value need gradients
    assert found["named"]["cuBLAS workspace"] == 2 * 8_519_680
    assert found["named"]["temporary of neg"] == 8 * 4096 * 4096 * 4
    assert found["phase"] == "backward"


def test_what_was_there_before_is_counted_and_called_unknown(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
model = net()
kept = torch.zeros(1_000_000, device="cuda")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with track(model, optimizer) as t:
    model(torch.zeros(64, 512, device="cuda")).sum().backward()
    optimizer.step()
answer(t)
""",
    )
    assert found["peak"] == found["max"][0]
    assert found["parts"]["unknown"] == 4_000_000


def test_an_error_in_the_block_leaves_everything_as_it_was(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
model = net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
t = track(model, optimizer)
try:
    with t:
        model(torch.zeros(64, 512, device="cuda")).sum().backward()
        raise RuntimeError("mine")
except RuntimeError as error:
    said = str(error)
hooks = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
with track(model, optimizer) as again:
    optimizer.step()
answer(t, said=said, hooks=hooks, again=again.explain().explanation.unknown_reason,
       forward=[k for m in model.modules() for k in vars(m) if k == "forward"])
""",
    )
    assert (found["said"], found["hooks"], found["again"], found["forward"]) == ("mine", 0, None, [])
    assert "gradients" in found["text"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("model = net()\nwith track(model):\n    with track(model):\n        pass", "one region is being tracked"),
        ("with track(nn.Linear(2, 2)):\n    pass", "on the CPU"),
        ("t = track(net())\nt.explain()", "has not ended"),
    ],
)
def test_what_cannot_be_tracked_says_why(run_on_phantom: Run, body: str, says: str) -> None:
    done = run_on_phantom(_SETUP + body)
    assert done.returncode != 0
    assert says in done.stderr.splitlines()[-1]
