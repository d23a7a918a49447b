"""A model with known memory: each tensor is attributed to its category and module, to the byte."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_SCRIPT = '''
import json
import pickle
import torch
from torch import nn
from torch.cuda._memory_viz import segsum, trace, trace_plot
from memprof import track

class Scale(nn.Module):
    """Keeps its output for backward (exp does), with its own size."""
    def __init__(self, width, next_width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(next_width, device="cuda"))
        self.width = width
    def forward(self, x):
        return (x.sum() + self.weight).exp()

class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, x):
        return self.inner(self.inner(x)), x

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Scale(0, 1_000_000)
        self.twice = Twice(Scale(0, 500_000))
        self.frozen = Scale(0, 250_000)
        self.frozen.weight.requires_grad_(False)
        self.register_buffer("table", torch.zeros(125_000, device="cuda"))
        self.tied = self.first
    def forward(self, x):
        pair = self.twice(self.first(x))
        return self.frozen(pair[0]).sum()

model = Model()
optimizer = torch.optim.Adam(model.parameters())
with track(model, optimizer, snapshot=r"FILE") as t:
    for _ in range(2):
        batch = torch.zeros(60_000, device="cuda")
        optimizer.zero_grad()
        loss = model(batch)
        loss.backward()
        optimizer.step()
e = t.explain().explanation
with open(r"FILE", "rb") as file:
    snapshot = pickle.load(file)
print(json.dumps({
    "peak": e.peak_allocated_bytes,
    "highest": dict(e.highest_parts),
    "blocks": [[b.category, b.name, b.module, b.requested_bytes] for b in e.blocks],
    "modules": {row.path: [dict(row.parts), row.output_shapes] for row in e.modules},
    "forward_is_back": all("forward" not in vars(m) for m in model.modules()),
    "max": torch.cuda.max_memory_allocated(),
    "unknown": e.unknown_reason,
    "drawn": ["<html" in trace_plot(snapshot), len(trace(snapshot)) > 999, "total_reserved" in segsum(snapshot)],
}))
'''


@pytest.fixture(scope="module")
def snapshot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("known") / "snapshot.pickle"


@pytest.fixture(scope="module")
def explained_model(run_on_phantom: Run, snapshot_file: Path) -> dict[str, Any]:
    done = run_on_phantom(_SCRIPT.replace("FILE", str(snapshot_file)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def named(explained_model: dict[str, Any], snapshot_file: Path) -> dict[str, list[int]]:
    """The sizes of all allocations above 1000 bytes, by their names in the snapshot."""
    assert explained_model
    sizes: dict[str, list[int]] = {}
    for entry in pickle.loads(snapshot_file.read_bytes())["device_traces"][0]:
        if entry["action"] == "alloc" and entry["size"] > 1000:
            sizes.setdefault(entry["user_metadata"], []).append(entry["size"])
    return sizes


def blocks_of(found: dict[str, Any], category: str) -> dict[str, tuple[str | None, int]]:
    return {name: (module, size) for kind, name, module, size in found["blocks"] if kind == category}


def test_attribution_each_tensor_has_category_and_module(explained_model: dict[str, Any]) -> None:
    found = explained_model
    assert found["unknown"] is None
    assert found["peak"] == found["max"]
    assert blocks_of(found, "parameters") == {
        "first.weight": ("first", 4_000_000),
        "twice.inner.weight": ("twice.inner", 2_000_000),
        "frozen.weight": ("frozen", 1_000_000),
    }
    assert blocks_of(found, "buffers") == {"table": ("", 500_000)}
    state = blocks_of(found, "optimizer_state")
    assert state["exp_avg of first.weight"] == state["exp_avg_sq of first.weight"] == ("first", 4_000_000)
    assert state["exp_avg of twice.inner.weight"] == ("twice.inner", 2_000_000)
    assert not any("frozen" in name for name in state)
    gradients = found["highest"]["gradients"]
    assert gradients == 4_000_000 + 2_000_000  # none of the frozen weight
    assert found["highest"]["input"] == 2 * 240_000  # the next batch exists before the variable drops the last one
    assert found["highest"]["unknown"] == 0


def test_attribution_every_tensor_of_run_has_its_bytes(named: dict[str, list[int]]) -> None:
    found = Counter({(name, size): len(sizes) for name, sizes in named.items() for size in set(sizes)})
    of: dict[str, dict[tuple[str, int], int]] = {
        category: {} for category in ("activations", "gradients", "optimizer_state", "input", "parameters", "unknown")
    }
    for (name, size), count in found.items():
        of.setdefault(name.partition(":")[0], {})[name.partition(": ")[2], size] = count
    # exp keeps its output: once per use of its module and step
    assert of["activations"] == {
        ("exp output in first", 4_000_000): 2,
        ("exp output in twice.inner", 2_000_000): 4,
        ("exp output in frozen", 1_000_000): 2,
    }
    assert of["gradients"] == {
        ("gradient of first.weight", 4_000_000): 2,
        ("gradient of twice.inner.weight", 2_000_000): 2,
    }
    assert of["optimizer_state"] == {
        (f"{state} of {name}", size): 1
        for state in ("exp_avg", "exp_avg_sq")
        for name, size in (("first.weight", 4_000_000), ("twice.inner.weight", 2_000_000))
    }
    assert of["input"] == {("input", 240_000): 2}
    assert of["parameters"] == of["unknown"] == {}  # allocated before the region


def test_snapshot_is_readable_by_pytorch_tools(explained_model: dict[str, Any]) -> None:
    assert explained_model["drawn"] == [True, True, True]


def test_module_rows_include_submodules(explained_model: dict[str, Any]) -> None:
    modules = explained_model["modules"]
    assert modules["first"][0]["parameters"] == 4_000_000
    assert modules["twice"][0]["parameters"] == modules["twice.inner"][0]["parameters"] == 2_000_000
    assert modules[""][0]["parameters"] == 7_000_000
    assert modules["twice"][1] == [[500_000], [1_000_000]]  # a tuple has two shapes
    assert "tied" not in modules
    assert explained_model["forward_is_back"]
