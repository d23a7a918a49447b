"""Batches of a dataset on the CPU: their values, their order, and datasets that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.data_batches import DataBatches
from memprof.workload.loaders import make_loader
from tests.workload.mnist_files import write_mnist

CPU = torch.device("cpu")
LABEL = {"shape": [], "dtype": "int64", "range": [0, 10]}
OWN = """
import torch

class Rows(torch.utils.data.Dataset):
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, index): return torch.full((1, 28, 28), float(index)), index % 10

class Words(Rows):
    def __getitem__(self, index): return {"input_ids": torch.arange(4), "labels": torch.tensor(1)}

def rows(count=10): return Rows(count)
def words(): return Words(10)
def number(): return 3
def fails(): raise OSError("no disk")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "own.py").write_text(OWN)
    write_mnist(folder / "data")
    return folder


def loader(folder: Path, dataset: str, size: int = 4, **data: Any) -> DataBatches:
    of_model: dict[str, Any] = {
        key: data.pop(key) for key in ("input", "mode", "precision", "channels_last") if key in data
    }
    settings: dict[str, Any] = {
        "name": "x",
        "model": "mnist_mlp",
        "input": {"shape": [1, 28, 28]},
        "target": LABEL,
        **of_model,
    }
    config = SweepConfig.model_validate({**settings, "data": {"dataset": dataset, **data}})
    made = make_loader(config, size, CPU, folder, 2)
    assert isinstance(made, DataBatches)
    return made


def test_data_batches_of_mnist_are_normalized_on_the_host(folder: Path) -> None:
    batch = loader(folder, "torchvision:MNIST", 500, transform="mnist").load()
    images = batch.inputs[0]
    assert (images.shape, images.dtype) == ((500, 1, 28, 28), torch.float32)
    assert float(images.min()) == pytest.approx(-0.1307 / 0.3081)
    assert float(images.max()) == pytest.approx((1 - 0.1307) / 0.3081)
    assert batch.target.dtype == torch.int64


def test_data_batches_of_uint8_become_the_same_images(folder: Path) -> None:
    host, device = (
        loader(folder, "torchvision:MNIST", 64, transform="mnist", pixels=pixels).load().inputs[0]
        for pixels in ("float32", "uint8")
    )
    torch.testing.assert_close(host, device)


@pytest.mark.parametrize("transform", ["imagenet", "cifar10", None])
def test_data_batches_of_fake_images_have_the_inputs_size(folder: Path, transform: str | None) -> None:
    settings: dict[str, Any] = {"kwargs": {"size": 9}, "transform": transform, "input": {"shape": [3, 32, 40]}}
    host, device = (
        loader(folder, "torchvision:FakeData", pixels=pixels, **settings).load() for pixels in ("float32", "uint8")
    )
    assert host.inputs[0].shape == (4, 3, 32, 40)
    torch.testing.assert_close(host.inputs[0], device.inputs[0])
    assert int(host.target.max()) < 10


def test_data_batches_end_an_epoch_with_the_smaller_one(folder: Path) -> None:
    batches = loader(folder, "own.py:rows")
    assert batches.more_steps == 1
    assert [batches.load().size for _ in range(5)] == [4, 4, 2, 4, 4]


def test_data_batches_drop_last_have_only_full_ones(folder: Path) -> None:
    batches = loader(folder, "own.py:rows", drop_last=True)
    assert batches.more_steps == 0
    assert [batches.load().size for _ in range(4)] == [4, 4, 4, 4]


def test_data_batches_of_mappings_are_keyword_inputs(folder: Path) -> None:
    batch = loader(folder, "own.py:words", input={"input_ids": {"shape": [4], "dtype": "int64"}}).load()
    assert {name: tuple(value.shape) for name, value in batch.keywords.items()} == {"input_ids": (4, 4), "labels": (4,)}


def test_data_batches_follow_precision_mode_and_layout(folder: Path) -> None:
    batch = loader(folder, "own.py:rows", precision="bf16", mode="inference", channels_last=True).load()
    assert batch.inputs[0].dtype == torch.bfloat16
    assert batch.inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert batch.target is None


@pytest.mark.parametrize(
    ("dataset", "data", "problem"),
    [
        (
            "torchvision:MNIST",
            {"root": "no"},
            "MNIST is not in {folder}/no; download it with: --set data.download=true",
        ),
        ("torchvision:MNST", {}, "torchvision has no dataset MNST; did you mean MNIST?"),
        ("torchvision:ImageFolder", {"root": "no"}, "torchvision:ImageFolder is not in {folder}/no; put one folder of"),
        ("torchvision:FakeData", {"kwargs": {"sise": 3}}, "torchvision:FakeData cannot be opened: TypeError"),
        ("own.py:rows", {"kwargs": {"count": 3}}, "own.py:rows has 3 samples, fewer than a batch of 4"),
        ("own.py:rows", {"input": {"shape": [3, 8, 8]}}, "samples of own.py:rows have 1x28x28, and the config's input"),
        ("own.py:number", {}, "own.py:number is no dataset with a length and items, but int"),
        ("own.py:fails", {}, "own.py:fails raised OSError: no disk (line 15)"),
        ("own.py:row", {}, "did you mean rows?"),
        ("no.py:rows", {}, "no.py:rows: there is no file {folder}/no.py"),
    ],
)
def test_dataset_that_cannot_be_used_is_one_line(
    folder: Path, dataset: str, data: dict[str, Any], problem: str
) -> None:
    with pytest.raises(WorkloadError) as raised:
        loader(folder, dataset, **data)
    assert problem.format(folder=folder.resolve()) in str(raised.value)
    assert "\n" not in str(raised.value)
