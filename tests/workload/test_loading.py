"""Loading batches: what exists of the previous batch while the next one is made."""

import weakref
from typing import Any

import pytest
import torch

from memprof.config.schema import SweepConfig
from memprof.workload import Batch, BatchLoader

CPU = torch.device("cpu")


def loader(mode: str) -> BatchLoader:
    target = {"shape": [], "dtype": "int64", "range": [0, 10]}
    settings = {"name": "x", "model": "cifar_mlp", "input": {"shape": [3, 8, 8]}, "target": target, "batch": mode}
    return BatchLoader(SweepConfig.model_validate(settings), 4, CPU)


@pytest.mark.parametrize(("mode", "exists"), [("new", True), ("replaced", False)])
def test_load_keeps_previous_batch_only_in_mode_new(mode: str, exists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = loader(mode)
    previous = weakref.ref(batches.load().inputs[0])
    seen: list[bool] = []

    def make(self: Any) -> Batch:
        seen.append(previous() is not None)
        return original(self)

    original = BatchLoader.make
    monkeypatch.setattr(BatchLoader, "make", make)
    batches.load()
    assert seen == [exists]
    assert previous() is None


def test_loader_resident_has_its_batch_from_the_start() -> None:
    batches = loader("resident")
    assert batches.current is batches.current
    assert batches.current.inputs[0].shape == (4, 3, 8, 8)


def test_loader_before_the_first_load_has_no_batch() -> None:
    with pytest.raises(RuntimeError, match="no batch was loaded"):
        _ = loader("new").current
