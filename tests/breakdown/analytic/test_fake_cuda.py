"""Fake CUDA models: no data, a CUDA device in name, and no device in use."""

import subprocess
import sys
from typing import cast

import torch
from torch import nn

from memprof.breakdown.analytic.fake_cuda import FakeCudaModel

INITIALIZES_NOTHING = """
import torch
from memprof.breakdown.analytic import break_down
from memprof.config.schema import SweepConfig
from memprof.gpus.traits import default_traits
from memprof.workload.builtin_models import FACTORIES
config = SweepConfig.model_validate({
    "name": "x", "model": "mnist_cnn", "input": [{"shape": [1, 28, 28]}], "loss": "sum",
    "precision": "amp-bf16", "optimizers": ["sgd", {"name": "adam", "kwargs": {"fused": True}}],
})
row, _ = break_down(FACTORIES["mnist_cnn"](), config, [(spec, 2) for spec in config.optimizers], default_traits())
print(row.activations_bytes is not None, torch.cuda.is_initialized())
"""


def test_fake_cuda_initializes_no_device() -> None:
    done = subprocess.run([sys.executable, "-c", INITIALIZES_NOTHING], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_fake_cuda_model_keeps_shapes_and_dtypes() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(4))
    module[0].bias.requires_grad_(False)
    before = [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in module.state_dict(keep_vars=True).values()]
    FakeCudaModel(module)
    after = module.state_dict(keep_vars=True).values()
    assert [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in after] == before
    assert {t.device.type for t in after} == {"cuda"}
    assert all(isinstance(parameter, nn.Parameter) for parameter in module.parameters())


def test_fake_cuda_model_restores_real_values() -> None:
    module = nn.Linear(2, 2)
    weight = module.weight
    fake_model = FakeCudaModel(module)
    assert module.weight is not weight
    with fake_model.real_values() as real:
        assert real.weight is weight
    assert module.weight is not weight


def test_fake_cuda_model_replaces_recurrent_weights() -> None:
    module = nn.LSTM(2, 3)
    FakeCudaModel(module)
    assert {weight.device.type for weight in cast("list[torch.Tensor]", module._flat_weights)} == {"cuda"}
