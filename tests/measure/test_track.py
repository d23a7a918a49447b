"""Tracking of the user's own loops: exact, and without a trace afterwards."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memprof.units import format_bytes
from tests.paths import WORKLOADS

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_SETUP = """
import json
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from memprof import track

def report(t, **more):
    e = t.explain().explanation
    print(json.dumps({
        "peak": e.peak_allocated_bytes, "parts": dict(e.allocated_parts), "highest": dict(e.highest_parts),
        "sum": sum(b.block_bytes for b in e.blocks), "unknown": e.unknown_reason, "reserved": e.peak_reserved_bytes,
        "device": [e.nvml_used_bytes, sum(e.device_parts.values())], "text": str(t.explain()),
        "max": [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()],
        "steps": [m.step for m in e.step_peaks], "phase": e.peak.phase, "named": dict(e.named_parts), **more,
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


def test_track_loop_with_autocast_and_scaler_is_exact(run_on_phantom: Run) -> None:
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
report(t, weights=weights, remaining=[k for m in model.modules() for k in vars(m) if k == "forward"])
""",
    )
    assert (found["peak"], found["reserved"]) == tuple(found["max"])
    assert found["steps"] == [1, 2, 3]
    assert found["highest"]["parameters"] == found["highest"]["gradients"] == found["weights"]
    assert 2 * found["weights"] <= found["highest"]["optimizer_state"] <= 2 * found["weights"] + 16
    assert found["highest"]["input"] >= 256 * 512 * 4
    assert found["highest"]["unknown"] < 4096  # the scaler's scale and growth tracker
    assert found["remaining"] == []


def test_track_accumulation_and_checkpointing_is_exact(run_on_phantom: Run) -> None:
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
report(t)
""",
    )
    assert found["peak"] == found["max"][0]
    assert found["highest"]["optimizer_state"] == found["highest"]["parameters"]
    assert found["highest"]["unknown"] == 0


def test_track_published_attention_has_named_blocks(run_on_phantom: Run) -> None:
    workload = (WORKLOADS / "attention.py").read_text()
    functions = workload[workload.index("def softmax") : workload.index("def run")]
    body = f"""
from torch import Tensor
{functions}
with track() as t:
    inputs = [torch.randn(8, 4096, 16, device="cuda", requires_grad=True) for _ in range(3)]
    output = attention(*inputs)
    loss = output.sum()
    loss.backward()
report(t)
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


def test_track_earlier_blocks_are_unknown(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
model = net()
kept = torch.zeros(1_000_000, device="cuda")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with track(model, optimizer) as t:
    model(torch.zeros(64, 512, device="cuda")).sum().backward()
    optimizer.step()
report(t)
""",
    )
    assert found["peak"] == found["max"][0]
    assert found["parts"]["unknown"] == 4_000_000


_REMAINING = """
def remaining(model, *optimizers):
    tables = [optimizer._optimizer_step_pre_hooks for optimizer in optimizers]
    tables += [optimizer._optimizer_step_post_hooks for optimizer in optimizers]
    tables += [hooks for m in model.modules() for hooks in (m._forward_hooks, m._forward_pre_hooks)]
    return {
        "hooks": sum(map(len, tables)),
        "forward": [k for m in model.modules() for k in vars(m) if k == "forward"],
        "history": torch._C._cuda_isHistoryEnabled(),
        "saving": torch._C._autograd._top_saved_tensors_default_hooks(False) is not None,
    }
"""


def test_track_has_the_peak_of_each_phase_and_a_page(run_on_phantom: Run, tmp_path: Path) -> None:
    page = tmp_path / "peak.html"
    found = tracked(
        run_on_phantom,
        f"""
model = net()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
t = track(model, optimizer)
try:
    t.peak
except RuntimeError as error:
    message = str(error)
highest = {{}}
with t:
    batch, target = torch.zeros(256, 512, device="cuda"), torch.zeros(256, dtype=torch.long, device="cuda")
    for _ in range(2):
        for name, run in {{
            "forward": lambda: globals().update(output=model(batch)),
            "loss": lambda: globals().update(loss=nn.functional.cross_entropy(output, target)),
            "backward": lambda: loss.backward(),
            "optimizer": lambda: optimizer.step(),
        }}.items():
            torch.cuda.reset_peak_memory_stats()
            run()
            highest[name] = max(highest.get(name, 0), torch.cuda.max_memory_allocated())
        optimizer.zero_grad()
try:
    t.report({str(tmp_path / "no" / "x.html")!r})
except Exception as error:
    refused = f"{{type(error).__name__}}: {{error}}"
report(t, t_peak=t.peak, phases=t.phases, highest_seen=highest, message=message, refused=refused,
       written=str(t.report({str(page)!r})))
""",
    )
    assert found["t_peak"] == max(found["phases"].values()) == found["peak"]
    assert {name: found["phases"][name] for name in found["highest_seen"]} == found["highest_seen"]
    assert found["message"] == "the tracked region has not ended: use peak after the with block"
    assert found["refused"].endswith("x.html: cannot be written: No such file or directory")
    assert found["written"] == str(page)
    text = page.read_text("utf-8")
    assert f"It ran: the peak is {format_bytes(found['peak'])}." in text
    assert "Highest allocated bytes of each phase, over all steps" in text
    assert "http" not in text.replace("http-equiv", "")


def test_track_removes_hooks_also_after_error(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        f"""{_REMAINING}
model = net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
before = torch.zeros(200_000_000, device="cuda")
del before
torch.cuda.empty_cache()
t = track(model, optimizer)
try:
    with t:
        loss = model(torch.zeros(64, 512, device="cuda")).sum()
        count = len(t._region._tracker.annotations.markers)
        raise RuntimeError("mine")
except RuntimeError as error:
    message = str(error)
loss.backward()  # through what is left of the graph
first = remaining(model, optimizer)
with track(model, optimizer) as again:
    optimizer.step()
report(t, message=message, remaining=[first, remaining(model, optimizer)],
       again=again.explain().explanation.unknown_reason, markers=[count, len(t._region._tracker.annotations.markers)])
""",
    )
    nothing = {"hooks": 0, "forward": [], "history": False, "saving": False}
    assert found["remaining"] == [nothing, nothing]
    assert (found["message"], found["again"]) == ("mine", None)
    assert (
        found["markers"][1] - found["markers"][0] <= 1
    )  # the end of the block, and none of the backward pass after it
    assert found["parts"]["activations"] > 0
    assert found["max"][0] >= 800_000_000  # the counters of the process are unchanged


def test_track_parameters_known_only_to_optimizer(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
model = nn.Linear(100, 100, bias=False).cuda()
others = [nn.Parameter(torch.zeros(size, device="cuda")) for size in (250_000, 500_000)]
optimizers = [torch.optim.Adam(model.parameters()), torch.optim.SGD(others, lr=0.1, momentum=0.9)]
with track(model, optimizers) as t:
    for _ in range(2):
        loss = model(torch.zeros(8, 100, device="cuda")).sum() + sum((other * 2).sum() for other in others)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
e = t.explain().explanation
report(t, blocks=[[b.name, b.module, b.requested_bytes] for b in e.blocks], outside=dict(e.outside_parts))
""",
    )
    assert found["highest"]["parameters"] == found["highest"]["gradients"] == 40_000 + 1_000_000 + 2_000_000
    assert found["highest"]["optimizer_state"] == 2 * 40_000 + 3_000_000
    assert found["highest"]["unknown"] == 0
    assert ["parameter 2 of SGD", None, 2_000_000] in found["blocks"]
    assert ["weight", "", 40_000] in found["blocks"]
    assert found["outside"]["parameters"] == 3_000_000


def test_track_failed_start_restores_everything(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        f"""{_REMAINING}
model = net()
try:
    with track(model, "an optimizer") as t:
        pass
except AttributeError as error:
    message = str(error)
rest = remaining(model)
with track(model, None) as t:
    model(torch.zeros(64, 512, device="cuda")).sum().backward()
report(t, message=message, remaining=rest)
""",
    )
    assert found["remaining"] == {"hooks": 0, "forward": [], "history": False, "saving": False}
    assert "has no attribute" in found["message"]
    assert found["parts"]["unknown"] == 0


def test_track_submodules_called_alone(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.cell = nn.Linear(64, 64), nn.GRUCell(64, 64)
model = Parts().cuda()
optimizer = torch.optim.Adam(model.parameters())
with track(model, optimizer) as t:
    for _ in range(2):
        state = torch.zeros(8, 64, device="cuda")
        for _ in range(50):
            state = model.cell(model.encoder(torch.zeros(8, 64, device="cuda")), state)
        state.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
markers = t._region._tracker.annotations.markers
report(t, backward=sorted({str(m.module) for m in markers if m.phase == "backward"}), markers=len(markers),
       kept=len(t._region._tracker._sequence))
""",
    )
    assert found["backward"] == ["None", "cell", "encoder"]
    assert found["markers"] < 2 * 50 * 60  # each node of the backward pass begins once a step
    assert found["kept"] <= 2
    assert found["highest"]["unknown"] == 0
    assert found["steps"] == [1, 2]


def test_track_without_model_and_with_compiled_parts(run_on_phantom: Run) -> None:
    found = tracked(
        run_on_phantom,
        """
inner = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
model = nn.Sequential(nn.Linear(64, 64), torch.compile(inner, backend="aot_eager")).cuda()
score = torch.compile(lambda x: (x.sin() * x.cos()).sum(), backend="aot_eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with track(model, optimizer) as compiled:
    for _ in range(2):
        score(model(torch.zeros(8, 64, device="cuda"))).backward()
        optimizer.step()
        optimizer.zero_grad()
torch.cuda.empty_cache()
torch._C._cuda_clearCublasWorkspaces()
torch.cuda.reset_peak_memory_stats()
with track() as t:
    weight = torch.zeros(1_000_000, device="cuda", requires_grad=True)
    for _ in range(2):
        (weight * 2).exp().sum().backward()
        weight.grad = None
e = compiled.explain().explanation
breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
report(t, compiled=[e.unknown_reason, sum(e.allocated_parts.values()) - e.peak_allocated_bytes, breaks])
""",
    )
    assert found["compiled"] == [None, 0, 0]
    assert found["highest"]["activations"] >= 4_000_000
    assert found["phase"] == "backward"


@pytest.mark.parametrize("content", ["", "in a missing folder"])
def test_track_unwritable_snapshot_is_refused_before_loop(run_on_phantom: Run, content: str) -> None:
    file = "/nowhere/at/all.pickle" if content else "/"
    done = run_on_phantom(f"{_SETUP}\nwith track(net(), snapshot={file!r}):\n    print('ran')")
    assert done.returncode != 0
    assert done.stdout == ""
    assert f"snapshot {file}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "model = net()\nwith track(model):\n    with track(model):\n        pass",
            "a region is already being tracked",
        ),
        ("with track(nn.Linear(2, 2)):\n    pass", "on the CPU"),
        ("t = track(net())\nt.explain()", "has not ended"),
    ],
)
def test_track_unusable_region_gives_reason(run_on_phantom: Run, body: str, expected: str) -> None:
    done = run_on_phantom(_SETUP + body)
    assert done.returncode != 0
    assert expected in done.stderr.splitlines()[-1]
