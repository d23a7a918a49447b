"""Batches: shapes, dtypes, ranges and layout, on their device."""

from typing import Any

import pytest
import torch

from memprof.config.schema import SweepConfig
from memprof.workload import Batch, make_batch

IMAGE = {"shape": [3, 8, 8]}
LABEL = {"shape": [], "dtype": "int64", "range": [0, 10]}
CPU = torch.device("cpu")


def batch(device: torch.device = CPU, size: int = 64, **keys: Any) -> Batch:
    config = SweepConfig.model_validate({"name": "x", "model": "cifar_mlp", "input": [IMAGE], "target": LABEL, **keys})
    return make_batch(config, size, device)


def test_make_batch_dimension_comes_first() -> None:
    made = batch(size=5)
    assert made.inputs[0].shape == (5, 3, 8, 8)
    assert made.target is not None
    assert made.target.shape == (5,)


def test_make_batch_integers_stay_within_range() -> None:
    ids = batch(input=[{"shape": [99], "dtype": "int64", "range": [5, 8]}]).inputs[0]
    assert set(ids.unique().tolist()) == {5, 6, 7}


def test_make_batch_integers_without_range_are_valid() -> None:
    made = batch(input=[{"shape": [99], "dtype": name} for name in ("int64", "int32", "uint8", "bool")])
    assert [int(part.max()) for part in made.inputs[:2]] == [0, 0]
    assert int(made.inputs[2].max()) > 200
    assert set(made.inputs[3].unique().tolist()) == {False, True}


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp64", torch.float64)],
)
def test_make_batch_float32_follows_weights(precision: str, dtype: torch.dtype) -> None:
    made = batch(input=[IMAGE, {"shape": [2], "dtype": "float16"}], precision=precision, target=IMAGE)
    assert made.inputs[0].dtype == dtype
    assert made.inputs[1].dtype == torch.float16
    assert made.target is not None
    assert made.target.dtype == dtype


def test_make_batch_autocast_keeps_float32() -> None:
    assert batch(precision="amp-bf16").inputs[0].dtype == torch.float32


def test_make_batch_same_seed_gives_same_batch() -> None:
    first, again, other = batch(seed=3), batch(seed=3), batch(seed=4)
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert not torch.equal(first.inputs[0], other.inputs[0])


def test_make_batch_channels_last_changes_layout() -> None:
    made = batch(channels_last=True, input=[IMAGE, {"shape": [7]}])
    assert made.inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert made.inputs[1].is_contiguous()


def test_make_batch_meta_device_has_only_shapes() -> None:
    made = batch(torch.device("meta"), size=1_000_000_000)
    assert all(part.is_meta for part in made.tensors)
    assert made.inputs[0].shape == (1_000_000_000, 3, 8, 8)


def test_make_batch_inference_has_no_target() -> None:
    assert batch(mode="inference").target is None
    assert len(batch(mode="inference").tensors) == 1
