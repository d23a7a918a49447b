"""Host memory for a rank's part of the model: how much it is, and a refusal if the host has less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from memprof.config.schema import OptimizerConfig
from memprof.errors import WorkloadError
from memprof.workload.parallel import offload
from memprof.workload.parallel.offload import host_available_bytes, move_to_host, offloaded_bytes


def meta_model() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(1024, 1024, bias=False), nn.BatchNorm1d(1024, affine=False))


@pytest.mark.parametrize(("optimizer", "copies"), [("sgd", 2), ("adamw", 4)])
def test_offloaded_bytes_have_gradients_and_state(optimizer: str, copies: int) -> None:
    found = offloaded_bytes(meta_model(), OptimizerConfig(name=optimizer))
    assert found is not None
    assert 0 <= found - copies * 4 * 1024**2 <= 8  # Adam's count of steps


def test_frozen_parameters_have_no_gradients() -> None:
    frozen = meta_model().requires_grad_(False)
    model = nn.Sequential(frozen, nn.Linear(256, 256, bias=False, device="meta"))
    assert offloaded_bytes(model, OptimizerConfig(name="sgd")) == 4 * 1024**2 + 2 * 4 * 256**2


def test_parameters_go_to_host_and_buffers_to_the_device() -> None:
    model = move_to_host(meta_model(), torch.device("meta"))
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}


def test_too_little_host_memory_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 9000 kB\nMemAvailable:    4096 kB\n")
    monkeypatch.setattr(offload, "_MEMORY_FILE", file)
    assert host_available_bytes() == 4096 * 1024
    with pytest.raises(WorkloadError) as caught:
        move_to_host(meta_model(), torch.device("meta"))
    assert str(caught.value) == (
        "parallel.fsdp.offload: parameters and gradients of one rank take 8.00 MiB of host memory, and 4.00 MiB are "
        "available; set more ranks to mesh.shard"
    )
    monkeypatch.setattr(offload, "_MEMORY_FILE", tmp_path / "missing")
    assert host_available_bytes() is None
