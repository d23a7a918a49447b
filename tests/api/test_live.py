"""Live modules, dicts and names: the same answers as from a config file, whatever this process has done with torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import memprof
from memprof.api.live import describe_batch, describe_optimizer
from memprof.errors import ConfigError, WorkloadError
from tests.paths import ROOT

Script = Callable[..., "subprocess.CompletedProcess[str]"]
ORIGINAL = """
import torch
from torch import nn
def build(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
"""


class Net(nn.Module):
    """A model of this file, which the worker cannot import by its name alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


def images(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 3, 32, 32), torch.randint(0, 10, (size,))


@pytest.mark.usefixtures("phantom_device_h100")
def test_live_module_has_the_peak_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(ORIGINAL)
    options = {"gpu": "t4", "batch_sizes": [8, 64]}
    live = memprof.sweep(Net(), batch=images, optimizer="adam", **options)  # type: ignore[arg-type]
    named = memprof.sweep(
        f"{tmp_path}/net.py:build", input="3x32x32", classes=10, optimizer="adam", **options  # type: ignore[arg-type]
    )  # fmt: skip
    peaks = [list(answer.frame["peak_allocated_bytes"]) for answer in (live, named)]
    assert peaks[0] == peaks[1]
    assert live.records[0].model == "live:Net"


@pytest.mark.usefixtures("phantom_device_h100")
def test_live_module_with_its_optimizer_finds_the_largest_batch() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    before = [parameter.clone() for parameter in net.parameters()]
    answer = memprof.max_batch(net, optimizer=optimizer, batch=images, gpu="t4", memory="512MiB")
    assert answer.answer.optimizer == "SGD"
    assert memprof.fits(net, optimizer=optimizer, batch=images, gpu="t4", batch_size=8)
    assert repr(answer).startswith("╭")
    assert answer.to_dict()["largest_batch_size"] == answer.largest_batch_size > 1000
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))


@pytest.mark.usefixtures("phantom_device_h100")
def test_fits_is_true_or_false_with_one_line() -> None:
    yes = memprof.fits("mnist_mlp", gpu="t4", batch_size=64)
    assert yes
    assert repr(yes).startswith("fits at batch 64 with sgd: ")
    assert (yes.device_bytes or 0) > 140 * 1024**2  # the context and the first kernels
    no = memprof.fits("mnist_mlp", gpu="t4", batch_size=50_000_000)
    assert not no
    assert repr(no).startswith("does not fit at batch 50,000,000 with sgd: ")
    assert (no.device_bytes, no.to_dict()["fits"], len(no.frame)) == (None, False, 1)


@pytest.mark.usefixtures("phantom_device_h100")
def test_compare_and_fit_take_dicts_and_answer_with_frames() -> None:
    config = {"model": {"name": "mnist_mlp"}, "optimizers": ["sgd"], "batch_sizes": [64]}
    compared = memprof.compare(config, {"optimizer": ["sgd", "adam"], "set_to_none": [True, False]}, gpu="t4")
    assert [variant.record.variant for variant in compared.variants] == ["base", "optimizer=adam", "set_to_none=false"]
    assert len(compared.frame) == len(compared.to_dict()["rows"]) == 3
    fitted = memprof.fit(config, gpu="t4", memory="1GiB")
    assert fitted
    assert (fitted.settings, fitted.to_dict()["fits"]) == ({}, True)
    assert list(fitted.frame["fits"]) == [True]


def test_live_module_of_a_process_with_cuda_is_measured(run_on_phantom: Script) -> None:
    script = """
import torch, memprof
class Net(torch.nn.Linear):
    pass
net = Net(1000, 1000).cuda()
net(torch.zeros(4, 1000, device="cuda")).sum().backward()
answer = memprof.max_batch(net, batch=lambda n: torch.randn(n, 1000, device="cuda"), gpu="t4", memory="256MiB")
print(answer.answer.gpu, answer.largest_batch_size > 1000, next(net.parameters()).device, torch.cuda.is_initialized())
"""
    done = run_on_phantom(script)
    assert done.stdout.split() == ["t4", "True", "cuda:0", "True"], done.stderr


@pytest.mark.usefixtures("phantom_device_h100")
def test_functions_on_names_and_dicts_import_no_torch() -> None:
    script = (
        "import sys, memprof\n"
        "assert memprof.fits('mnist_mlp', gpu='t4', batch_size=4)\n"
        "assert memprof.fits({'model': 'mnist_mlp'}, gpu='t4', batch_size=4)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


@pytest.mark.usefixtures("phantom_device_h100")
def test_live_module_that_keeps_its_dtype() -> None:
    answer = memprof.sweep(Net().to(torch.bfloat16), batch=images, gpu="h100-80gb", batch_sizes=[4], optimizers=["sgd"])
    assert [record.precision for record in answer.records] == ["bf16"]


@pytest.mark.parametrize(
    ("batch", "described"),
    [
        (images, {"input": {"shape": [3, 32, 32], "dtype": "float32"}, "loss": "cross_entropy"}),
        (lambda n: torch.zeros(n, 5), {"input": {"shape": [5], "dtype": "float32"}, "loss": "sum"}),
        (
            lambda n: {"input_ids": torch.full((n, 7), 9), "labels": torch.full((n, 7), 9)},
            {
                "input": {name: {"shape": [7], "dtype": "int64", "range": [9, 10]} for name in ("input_ids", "labels")},
                "loss": "output",
            },
        ),
        (
            lambda n: ((torch.zeros(n, 2), torch.zeros(n, 3)), torch.zeros(n, 1)),
            {
                "input": [{"shape": [2], "dtype": "float32"}, {"shape": [3], "dtype": "float32"}],
                "target": {"shape": [1], "dtype": "float32"},
                "loss": "mse_loss",
            },
        ),
        (
            lambda n: ([torch.zeros(3, 8, 8) for _ in range(n)], [{"labels": torch.ones(2).long()} for _ in range(n)]),
            {
                "input": {"per_sample": {"shape": [3, 8, 8], "dtype": "float32"}},
                "target": {"per_sample": {"labels": {"shape": [2], "dtype": "int64", "range": [1, 2]}}},
                "loss": "cross_entropy",
            },
        ),
    ],
)
def test_batch_is_described_as_a_config_does(batch: Any, described: dict[str, Any]) -> None:
    found = describe_batch(batch)
    assert found == {**({"target": found["target"]} if batch is images else {}), **described}


def test_optimizer_is_described_by_what_is_not_default() -> None:
    parameters = [nn.Parameter(torch.zeros(1))]
    assert describe_optimizer(torch.optim.AdamW(parameters, lr=1e-4, betas=(0.8, 0.9))) == {
        "name": "AdamW",
        "kwargs": {"lr": 1e-4, "betas": [0.8, 0.9]},
        "label": "AdamW",
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"batch": lambda n: torch.zeros(4, n)},
            ConfigError,
            "the shapes [4, 2] for 2 samples and [4, 3] for 3; every",
        ),
        ({"batch": str}, ConfigError, "batch: the input is str; give tensors, or tuples, lists and dicts"),
        ({}, ConfigError, "input: missing; add --input 3x32x32 --classes 10"),
        ({"batch": images, "precision": "fp23"}, ConfigError, "--precision fp23: 'fp23' is not one of"),
        ({"batch": images, "bach": 1}, TypeError, "unknown option 'bach'; there are optimizer, batch, input"),
    ],
)
def test_wrong_argument_is_refused_in_one_line(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        memprof.max_batch(Net(), gpu="t4", **arguments)
    assert message in str(caught.value)
    assert "memprof-" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_module_that_cannot_be_pickled_is_refused() -> None:
    net = Net()
    net.rows = (row for row in list[int]())  # type: ignore[assignment]
    with pytest.raises(WorkloadError, match="the module Net cannot be sent to the worker: TypeError: "):
        memprof.fits(net, batch=images, gpu="t4", batch_size=2)


def test_other_objects_are_no_model() -> None:
    with pytest.raises(TypeError, match=r"int is not a config file, a model's name, a dict or a torch\.nn\.Module"):
        memprof.fits(3, gpu="t4", batch_size=2)  # type: ignore[arg-type]
