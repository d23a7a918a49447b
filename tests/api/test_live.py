"""Live modules, dicts and names in Python: the same figures as from a config file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import memprof
from memprof.api.batch import describe_batch
from memprof.api.live import load_model, write_model
from memprof.api.source import Description, open_source
from memprof.errors import ConfigError
from tests.paths import PACKAGE

FEATURES = 28 * 28


class Net(nn.Module):
    """The layers of `mnist_mlp`, a constant that code reads, and two names of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 10))
        self.register_buffer("scale", torch.tensor(2.0))
        self.again = self.layers[1]

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(images)
        return result


def batch(size: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(size, 1, 28, 28), torch.arange(size) % 10


def peak(result: memprof.FitsResult) -> int:
    assert result.record.reading is not None
    return result.record.reading.peak_allocated_bytes


@pytest.mark.usefixtures("phantom_device_h100")
def test_live_module_has_the_peak_of_its_config() -> None:
    model = Net()
    del model.scale  # mnist_mlp has no buffer
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    live = memprof.fits(model, gpu="t4", batch_size=4096, optimizer=optimizer, batch=batch)
    named = memprof.fits("mnist_mlp", gpu="t4", batch_size=4096, optimizer="adam")
    assert live
    assert peak(live) == peak(named)
    assert live.to_dict()["model"] == "live.py:Net"
    assert repr(live).startswith("fits up to batch 4,096 with adam: ")


@pytest.mark.usefixtures("phantom_device_h100")
def test_dict_compares_and_fits() -> None:
    config: dict[str, Any] = {"model": "mnist_mlp", "batch_sizes": [64]}
    compared = memprof.compare(config, vary={"optimizer": ["sgd", "adam"]}, gpu="t4")
    states = compared.frame["optimizer_state_bytes"].tolist()
    assert states == [0, 2 * 101_770 * 4]
    assert compared.to_dict()["rows"][1]["settings"] == {"optimizer": "adam"}
    assert "no variant is below the base" in str(compared)
    found = memprof.fit(config, memory="1GiB", gpu="t4")
    assert found
    assert found.settings == {}


@pytest.mark.usefixtures("phantom_device_h100")
def test_live_module_on_cuda_is_measured_from_a_process_that_uses_cuda(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, memprof\n"
        "class Own(torch.nn.Linear):\n    pass\n"
        "model = Own(4096, 4096).cuda()\n"
        "before = torch.cuda.memory_allocated()\n"
        "batch = lambda n: (torch.zeros(n, 4096, device='cuda'), torch.zeros(n, 4096, device='cuda'))\n"
        "found = memprof.fits(model, gpu='l4', batch_size=8, optimizer='sgd', loss='mse_loss', batch=batch)\n"
        "print(found.record.status.value, found.record.environment.gpu, found.record.reading.peak_allocated_bytes)\n"
        "print(torch.cuda.memory_allocated() - before)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--", sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    status, gpu, peak_bytes, difference = finished.stdout.split()[:4]
    assert (status, gpu, int(difference)) == ("ok", "l4", 0)
    assert int(peak_bytes) > 2 * 4096 * 4096 * 4  # weights and gradients


def test_module_keeps_structure_and_small_values(tmp_path: Path) -> None:
    model = Net()
    model.get_parameter("layers.1.weight").requires_grad_(False)
    with torch.no_grad():
        model.get_parameter("layers.3.bias").copy_(torch.arange(10))
    write_model(model, tmp_path / "model.pickle")
    assert (tmp_path / "model.pickle").stat().st_size < 20_000  # the first layer has 400 kB
    read = load_model(tmp_path / "model.pickle")
    assert isinstance(read, nn.Module)
    parameters = dict(read.named_parameters())
    assert {name: tuple(p.shape) for name, p in parameters.items()} == {
        name: tuple(p.shape) for name, p in model.named_parameters()
    }
    assert [p.requires_grad for p in parameters.values()] == [False, True, True, True]
    assert parameters["layers.3.bias"].tolist() == list(range(10))
    assert float(read.get_buffer("scale")) == 2.0
    assert read.get_submodule("again") is read.get_submodule("layers.1")


def test_channels_last_weights_stay_so(tmp_path: Path) -> None:
    model = nn.Conv2d(64, 64, 3).to(memory_format=torch.channels_last)
    write_model(model, tmp_path / "model.pickle")
    weight = load_model(tmp_path / "model.pickle").get_parameter("weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_attribute_that_cannot_be_sent_is_one_line(tmp_path: Path) -> None:
    model = Net()
    file = (tmp_path / "log").open("w")
    vars(model)["file"] = file
    with pytest.raises(ConfigError, match=r"^Net cannot be sent to the process that measures it: .*; write FILE.py:F"):
        write_model(model, tmp_path / "model.pickle")
    file.close()


def test_batch_describes_tensors_of_any_structure() -> None:
    inputs, target = (torch.zeros(3, 3, 8), {"mask": torch.ones(3, 8, dtype=torch.bool)}), torch.tensor([4, 0, 9])
    described = describe_batch(lambda n: ((inputs[0][:n], {"mask": inputs[1]["mask"][:n]}), target[:n]))
    assert described["input"] == [
        {"shape": [3, 8], "dtype": "float32"},
        {"mask": {"shape": [8], "dtype": "bool"}},
    ]
    assert described["target"] == {"shape": [], "dtype": "int64", "range": [0, 5]}


def test_batch_of_keywords_has_the_loss_of_the_model() -> None:
    described = describe_batch(lambda n: {"input_ids": torch.zeros(n, 8, dtype=torch.int64)})
    tokens = {"shape": [8], "dtype": "int64", "range": [0, 1]}
    assert described == {"input": {"input_ids": tokens}, "loss": "output"}


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda n: torch.zeros(n, 3), "batch: returned a Tensor; return (inputs, target), or a dict of keyword inputs"),
        (lambda n: (torch.zeros(4, 3), torch.zeros(n)), "batch: inputs has the shape [4, 3] for 2 samples and [4, 3]"),
        (lambda n: (torch.zeros(n, n), torch.zeros(n)), "the others must not change"),
        (lambda n: (torch.zeros(n), "label"), "batch: target is a str, and a batch has tensors only"),
        (lambda n: (torch.zeros(n, dtype=torch.complex64), torch.zeros(n)), "batch: inputs has the dtype complex64"),
    ],
)
def test_batch_of_another_form_is_refused(make: Any, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        describe_batch(make)
    assert line in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ({"model": "mnist_mlp", "precision": "fp23"}, "config: precision: 'fp23' is not one of fp32, "),
        ({"model": object()}, "config: has a value that no config can have: "),
        (
            3,
            "the model is a int: give a torch.nn.Module, a config file, a name such as torchvision:resnet50, or a dict",
        ),
    ],
)
def test_wrong_model_is_one_line(model: Any, line: str) -> None:
    with pytest.raises(ConfigError) as refused, open_source(model, Description()) as source:
        source.loaded()
    assert str(refused.value).startswith(line)


def test_own_file_of_a_dict_is_found_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").touch()
    config = {"model": "net.py:build", "input": {"shape": [4]}, "loss": "sum"}
    with open_source(config, Description()) as source:
        assert source.loaded().config.model.name == f"{tmp_path}/net.py:build"
    assert not source.path.exists()
