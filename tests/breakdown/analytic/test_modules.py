"""The summary by module, compared with the breakdown and with torchinfo, also for unusual modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchinfo
from torch import nn

from memprof.breakdown.analytic import break_down, summarize_modules
from memprof.breakdown.module_summary import ModuleSummary, SummaryRow
from memprof.config.load import load
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.traits import traits_of
from memprof.records import Breakdown, sum_of_known
from memprof.workload import build_model
from tests.paths import CONFIGS

Sweep = Callable[..., SweepConfig]


def parts_of(breakdown: Breakdown) -> dict[str, int | None]:
    names = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")
    return {name: getattr(breakdown, f"{name}_bytes") for name in names}


def both(config: SweepConfig, folder: Path = CONFIGS, place: int = -1) -> tuple[ModuleSummary, Breakdown]:
    """The summary and the breakdown of one point, by default the last: the largest batch of the last optimizer."""
    point = config.points()[place]
    (breakdown,) = break_down(build_model(config, folder), config, [point], traits_of(find_gpu("rtx-3090")))
    return summarize_modules(build_model(config, folder), config, *point), breakdown


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_summary_of_every_config_adds_up_to_breakdown(file: Path) -> None:
    loaded = load(file)
    for place in (0, -1):
        summary, breakdown = both(loaded.config, loaded.folder, place)
        assert summary.totals == parts_of(breakdown)
        assert summary.total_bytes == sum_of_known(parts_of(breakdown).values())
        assert summary.total_bytes


@pytest.mark.parametrize(
    "keys",
    [
        {"precision": "amp-bf16"},
        {"precision": "bf16", "channels_last": True},
        {"activation_checkpointing": 2},
        {"optimizer_in_backward": True},
        {"optimizers": [{"name": "adam", "kwargs": {"fused": True}}]},
        {"mode": "inference"},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_summary_with_settings_adds_up_to_breakdown(sweep: Sweep, keys: dict[str, Any]) -> None:
    summary, breakdown = both(sweep("torchvision:resnet18", batch_sizes=[2], **keys))
    assert summary.totals == parts_of(breakdown)


def children(summary: ModuleSummary, row: SummaryRow) -> list[SummaryRow]:
    inside = f"{row.path}." if row.path else ""
    return [other for other in summary.rows if other.depth == row.depth + 1 and other.path.startswith(inside)]


def test_summary_module_includes_submodules(sweep: Sweep) -> None:
    """A residual block has no tensors itself, nor has the network: all of them are in the layers."""
    summary, _ = both(sweep("torchvision:resnet18", batch_sizes=[2]))
    inner = [row for row in summary.rows if children(summary, row)]
    assert len(inner) == 1 + 4 + 8 + 3  # the network, its stages, their blocks, and the blocks' downsampling
    for row in inner:
        for name, amount in row.parts.items():
            assert amount == sum(child.parts[name] or 0 for child in children(summary, row)), (row.path, name)
        assert row.parameters == sum(child.parameters for child in children(summary, row))


TORCHINFO = ["resnet50", "vit_b_16", "mobilenet_v2"]


@pytest.mark.parametrize("name", TORCHINFO)
def test_summary_equals_torchinfo_by_module(sweep: Sweep, name: str) -> None:
    config = sweep(f"torchvision:{name}", input=[{"shape": [3, 224, 224]}], batch_sizes=[2])
    model = build_model(config, CONFIGS)
    paths = {module: path for path, module in model.named_modules()}
    expected = torchinfo.summary(model, (2, 3, 224, 224), depth=99, mode="train", device="cpu", verbose=0)
    runs: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    numbers: dict[str, int] = {}
    for info in expected.summary_list:
        runs[paths[info.module]].append(tuple(info.output_size))
        numbers.setdefault(paths[info.module], info.num_params)
    summary = summarize_modules(model, config, *config.points()[0])
    assert [row.path for row in summary.rows] == list(paths.values())
    assert {row.path: [shapes[0] for shapes in row.calls] for row in summary.rows if row.calls} == dict(runs)
    assert {row.path: row.parameters for row in summary.rows if row.path in numbers} == numbers
    unused = {row.path.rpartition(".")[2] for row in summary.rows if not row.calls}
    assert unused == ({"out_proj"} if name == "vit_b_16" else set())  # attention uses its weight without calling it
    assert summary.rows[0].parameters == expected.total_params
    assert summary.rows[0].trainable_parameters == expected.trainable_params


def test_summary_activation_belongs_to_running_module(sweep: Sweep) -> None:
    summary, _ = both(sweep("mnist_mlp", batch_sizes=[64]))
    saved = {row.type: row.parts["activations"] for row in summary.rows}
    # ReLU saves its output; the last layer saves the same tensor again; cross_entropy saves log-probabilities.
    assert saved == {"Sequential": 64 * 128 * 4, "Flatten": 0, "Linear": 0, "ReLU": 64 * 128 * 4}
    assert summary.outside_parts["activations"] == 64 * 10 * 4 + 4


OWN = """
from collections import namedtuple
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Answer:
    logits: torch.Tensor
    hidden: tuple
    name: str = "answer"

Pair = namedtuple("Pair", "first second")

class Returns(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
    def forward(self, x):
        y = x[:, :3]
        return {
            "tuple": (x, [y, None]), "dict": {"a": x, "b": {"c": y}}, "named": Pair(x, y),
            "object": Answer(x, (y,)), "scalar": x.sum(), "none": None,
        }[self.kind]

class Refuses(nn.Module):
    def forward(self, x):
        raise ValueError("not today")

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(16, 16)
        self.act = nn.Tanh()
        self.second = nn.Linear(16, 16)
        self.unused = nn.Linear(16, 5)
        if kind == "tied":
            self.second.weight = self.first.weight
            self.first.register_buffer("scale", torch.ones(7))
            self.second.register_buffer("size", self.first.scale)
        if kind == "same":
            self.second = self.first
            self.block = nn.Sequential(self.first, self.act)
        if kind == "frozen":
            self.first.requires_grad_(False)
        if kind == "scripted":
            self.second = torch.jit.script(nn.Linear(16, 16))
        if kind == "caught":
            self.refuses = Refuses()
        if kind in ("tuple", "dict", "named", "object", "scalar", "none"):
            self.returns = Returns(kind)
    def forward(self, x):
        if self.kind == "looks" and x.mean().item() > 1000:
            return self.first(x)
        if self.kind == "twice":
            return self.act(self.first(self.act(self.first(x))[:2]))
        if self.kind == "caught":
            try:
                self.refuses(x)
            except ValueError:
                pass
        x = self.act(self.first(x))
        if hasattr(self, "returns"):
            self.returns(x)
        return self.second(x)

def build(kind):
    return Net(kind)
"""


@pytest.fixture
def own(tmp_path: Path, sweep: Sweep) -> Callable[..., tuple[dict[str, SummaryRow], ModuleSummary]]:
    """Summarize a kind of the network above at batch 4, and compare it with the breakdown."""
    (tmp_path / "own.py").write_text(OWN)

    def run(kind: str, **keys: Any) -> tuple[dict[str, SummaryRow], ModuleSummary]:
        model = {"name": "own.py:build", "kwargs": {"kind": kind}}
        settings = {"input": [{"shape": [16]}], "loss": "sum", "batch_sizes": [4], "optimizers": ["adam"], **keys}
        summary, breakdown = both(sweep(model, **settings), tmp_path)
        assert summary.totals == parts_of(breakdown)
        return {row.path: row for row in summary.rows}, summary

    return run


LAYER = 16 * 16 + 16
Own = Callable[..., tuple[dict[str, SummaryRow], ModuleSummary]]


def test_summary_module_that_runs_twice_has_both_shapes(own: Own) -> None:
    rows, _ = own("twice")
    assert rows["first"].calls == (((4, 16),), ((2, 16),))
    assert rows["first"].output_shapes == ((2, 16),)
    assert rows["first"].parameters == LAYER
    assert rows["act"].parts["activations"] == (4 + 2) * 16 * 4  # each output of tanh


def test_summary_unused_module_has_weights_and_no_shape(own: Own) -> None:
    rows, _ = own("plain")
    assert (rows["unused"].calls, rows["unused"].output_shapes) == ((), ())
    assert rows["unused"].parameters == 16 * 5 + 5
    assert rows["unused"].parts == {
        "parameters": 85 * 4,
        "gradients": 85 * 4,  # the estimate has a gradient for each parameter
        "optimizer_state": 2 * 85 * 4,
        "buffers": 0,
        "activations": 0,
    }


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("tuple", ((4, 16), (4, 3))),
        ("dict", ((4, 16), (4, 3))),
        ("named", ((4, 16), (4, 3))),
        ("object", ((4, 16), (4, 3))),
        ("scalar", ((),)),
        ("none", ()),
    ],
)
def test_summary_every_output_tensor_has_shape(own: Own, kind: str, shapes: Any) -> None:
    rows, _ = own(kind)
    assert rows["returns"].calls == (shapes,)


def test_summary_tied_tensors_count_for_first_module(own: Own) -> None:
    rows, _ = own("tied")
    assert rows["first"].parameters == LAYER
    assert rows["second"].parameters == 16
    assert rows["second"].parts["parameters"] == rows["second"].parts["gradients"] == 16 * 4
    assert rows["second"].parts["optimizer_state"] == 2 * 16 * 4
    assert (rows["first"].parts["buffers"], rows["second"].parts["buffers"]) == (7 * 4, 0)
    assert rows["second"].shared == {"weight": "first.weight", "size": "first.scale"}
    assert rows["first"].shared == {}
    assert rows[""].parameters == LAYER + 16 + 85


def test_summary_repeated_module_counts_once(own: Own) -> None:
    rows, _ = own("same")
    assert [rows[path].same_as for path in ("first", "second", "block", "block.0", "block.1")] == [
        None,
        "first",
        None,
        "first",
        "act",
    ]
    assert len(rows["first"].calls) == 2
    assert rows["second"].calls == rows["block.0"].calls == ()
    assert (rows["first"].parameters, rows["second"].parameters, rows["block"].parameters) == (LAYER, 0, 0)


def test_summary_frozen_parameters_are_not_trainable(own: Own) -> None:
    rows, _ = own("frozen")
    assert (rows["first"].parameters, rows["first"].trainable_parameters) == (LAYER, 0)
    assert rows["first"].parts["gradients"] == rows["first"].parts["optimizer_state"] == 0
    assert rows[""].trainable_parameters == LAYER + 85


@pytest.mark.filterwarnings("ignore:`torch.jit")  # a warning of newer torch
def test_summary_scripted_module_is_watched(own: Own) -> None:
    rows, _ = own("scripted")
    assert rows["second"].calls == (((4, 16),),)
    assert rows["second"].parameters == LAYER


def test_summary_after_caught_error_uses_right_module(own: Own) -> None:
    rows, _ = own("caught")
    assert rows["refuses"].parts["activations"] == 0
    assert rows["act"].parts["activations"] == 4 * 16 * 4


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_summary_data_dependent_model_has_unknown_shapes(own: Own, mode: str) -> None:
    rows, summary = own("looks", mode=mode)
    known = 0 if mode == "inference" else None
    assert {row.parts["activations"] for row in summary.rows} == {known}
    assert summary.outside_parts["activations"] == known
    assert all(row.calls == () for row in summary.rows)
    assert rows["first"].parameters == LAYER


def test_summary_failing_optimizer_has_unknown_state(own: Own) -> None:
    _, summary = own("plain", optimizers=["sparseadam"])
    assert {row.parts["optimizer_state"] for row in summary.rows} == {None}
    assert summary.total_bytes is None


def test_summary_in_backward_has_largest_gradient_only(sweep: Sweep) -> None:
    summary, _ = both(sweep("mnist_mlp", batch_sizes=[2], optimizer_in_backward=True))
    gradients = [row.parts["gradients"] for row in summary.rows if row.parts["gradients"]]
    assert gradients == [784 * 128 * 4] * 2  # of the first layer, and therefore of the network


def test_summary_recomputes_largest_checkpointed_block(sweep: Sweep) -> None:
    config = sweep("torchvision:resnet18", batch_sizes=[2], activation_checkpointing=1)
    rows = {row.path: row for row in both(config)[0].rows}
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    inside = [path for path in blocks if rows[f"{path}.bn1"].parts["activations"]]
    assert len(inside) == 1
    assert all(rows[path].parts["activations"] for path in blocks[1:])  # their inputs


def test_summary_removes_its_hooks(sweep: Sweep) -> None:
    layer = nn.Linear(2, 2)
    both(sweep("mnist_mlp", batch_sizes=[2]))
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
    assert layer(torch.ones(1, 2)).shape == (1, 2)


def test_summary_shape_error_is_refused(sweep: Sweep) -> None:
    config = sweep("mnist_mlp", input=[{"shape": [3, 32, 32]}])
    with pytest.raises(WorkloadError, match="mat1 and mat2 shapes cannot be multiplied"):
        summarize_modules(build_model(config, CONFIGS), config, *config.points()[0])
