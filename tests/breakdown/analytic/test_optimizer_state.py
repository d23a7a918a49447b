"""Optimizer state, compared with formulas and with the state of a real step on the CPU."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memprof.breakdown.analytic.fake_cuda import FakeCudaModel
from memprof.breakdown.analytic.optimizer_state import optimizer_state_bytes
from memprof.config.schema import OptimizerConfig
from memprof.workload import build_optimizer

COUNT = 40 * 30 + 30 * 20


def model(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Linear(40, 30, bias=False), nn.Linear(30, 20, bias=False)).to(dtype)


def state_bytes(name: str, dtype: torch.dtype = torch.float32, **kwargs: Any) -> int | None:
    return optimizer_state_bytes(FakeCudaModel(model(dtype)), OptimizerConfig(name=name, kwargs=kwargs))


def real_state_bytes(name: str, **kwargs: Any) -> int:
    """Return the bytes after a step on the CPU, without the scalars that stay on the host."""
    parameters = list(model().parameters())
    optimizer = build_optimizer(OptimizerConfig(name=name, kwargs=kwargs), parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in tensors if tensor.dim())


ON_THE_HOST = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]


@pytest.mark.parametrize("name", ON_THE_HOST)
def test_optimizer_state_equals_real_step(name: str) -> None:
    assert state_bytes(name) == real_state_bytes(name)


@pytest.mark.parametrize(
    ("name", "kwargs", "copies"),
    [
        ("sgd", {}, 0),
        ("sgd+momentum", {}, 1),
        ("adam", {}, 2),
        ("adam", {"amsgrad": True}, 3),
        ("rmsprop", {"momentum": 0.9, "centered": True}, 3),
    ],
)
def test_optimizer_state_is_multiple_of_parameters(name: str, kwargs: dict[str, Any], copies: int) -> None:
    assert state_bytes(name, **kwargs) == copies * COUNT * 4
    assert state_bytes(name, torch.float64, **kwargs) == copies * COUNT * 8


@pytest.mark.parametrize("kwargs", [{"fused": True}, {"capturable": True}])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_optimizer_state_fused_counts_steps_on_device(name: str, kwargs: dict[str, Any]) -> None:
    assert state_bytes(name, **kwargs) == 2 * COUNT * 4 + 2 * 4


@pytest.mark.parametrize("name", ["adadelta", "adamax", "nadam", "radam", "rmsprop", "rprop", "asgd"])
def test_optimizer_state_capturable_adds_steps(name: str) -> None:
    plain, captured = state_bytes(name), state_bytes(name, capturable=True)
    assert plain is not None
    assert captured is not None
    assert 0 <= captured - plain <= 2 * 3 * 4


@pytest.mark.parametrize("name", ["sgd+momentum", "adagrad"])
def test_optimizer_state_fused_runs_without_device(name: str) -> None:
    # Older torch has a fused Adagrad only for the CPU, and refuses one on CUDA.
    refused = name == "adagrad" and "cuda_unsupported=True" in inspect.getsource(torch.optim.Adagrad)
    known = (None,) if refused else (COUNT * 4, COUNT * 4 + 2 * 4)
    assert state_bytes(name, fused=True) in known


def test_optimizer_state_sparse_optimizer_is_unknown() -> None:
    assert state_bytes("sparseadam") is None


def test_optimizer_state_leaves_no_gradients() -> None:
    fake_model = FakeCudaModel(model())
    optimizer_state_bytes(fake_model, OptimizerConfig(name="adam"))
    assert all(parameter.grad is None for parameter in fake_model.module.parameters())


OWN_KERNELS = """
import torch

class Bytes(torch.optim.Optimizer):
    def __init__(self, params):
        self.table = torch.linspace(0, 1, 256)
        self.scale = self.table.sum().item()
        super().__init__(params, {})

    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad.numpy().any():
                raise ValueError("only zeros")
            self.state[p] = {"state": torch.zeros_like(p, dtype=torch.uint8), "table": self.table}
"""


def test_optimizer_state_of_package_steps_on_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bytes_package.py").write_text(OWN_KERNELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert state_bytes("bytes_package:Bytes") == COUNT + 256 * 4
