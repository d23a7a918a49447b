"""Reading stacks that PyTorch 2.14 recorded on a phantom (`stacks.json`, without the interpreter's own frames)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memprof.allocator.stacks import UNKNOWN_SITE, Origin, Site, SiteTable, read_site
from tests.paths import PACKAGE

STACKS: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("stacks.json").read_text())


def native(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "filename": "/lib/libtorch_cuda.so", "line": 1} for name in names]


def python(*files: str) -> list[dict[str, Any]]:
    return [{"name": "run", "filename": file, "line": 7} for file in files]


@pytest.mark.parametrize(
    ("what", "origin", "operator", "inner_operator"),
    [
        ("a parameter", Origin.TENSOR, "to_dtype_layout", "empty_strided"),
        ("output of a convolution", Origin.TENSOR, "conv2d", "cudnn_convolution"),
        ("cuDNN workspace of a forward pass", Origin.CUDNN, "conv2d", "cudnn_convolution"),
        ("cuDNN workspace of a backward pass", Origin.CUDNN, "convolution_backward", "convolution_backward"),
        (
            "scratch of a reduction within convolution_backward",
            Origin.WORKSPACE,
            "convolution_backward",
            "sum_dim_IntList",
        ),
        ("cuBLASLt workspace", Origin.CUBLASLT, "linear", "addmm"),
        ("cuBLAS workspace", Origin.CUBLAS, "mm", "mm"),
        ("gradient of ReLU's input", Origin.TENSOR, "threshold_backward", "threshold_backward"),
        ("Adam's state", Origin.TENSOR, "zeros_like", "empty_strided"),
        ("Adam's temporary", Origin.TENSOR, "_foreach_sqrt", "empty_strided"),
        ("scratch of nonzero", Origin.WORKSPACE, "nonzero", "nonzero"),
        ("a storage resized by hand", Origin.TENSOR, None, None),
    ],
)
def test_read_site_gives_origin_and_operators(
    what: str, origin: Origin, operator: str | None, inner_operator: str | None
) -> None:
    site = read_site(STACKS[what])
    assert (site.origin, site.operator, site.inner_operator) == (origin, operator, inner_operator)


@pytest.mark.parametrize(
    ("what", "node"),
    [
        ("cuBLAS workspace", "AddmmBackward0"),
        ("gradient of ReLU's input", "ReluBackward0"),
        ("cuDNN workspace of a backward pass", "ConvolutionBackward0"),
    ],
)
def test_read_site_in_backward_has_node_and_no_line(what: str, node: str) -> None:
    site = read_site(STACKS[what])
    assert (site.in_backward, site.node, site.line) == (True, node, None)


def test_read_site_line_is_the_users_own() -> None:
    forward, adam = read_site(STACKS["output of a convolution"]), read_site(STACKS["Adam's state"])
    assert (forward.line, forward.function) == ("/home/me/train.py:15", "forward")
    assert (adam.line, adam.function) == ("/home/me/train.py:25", "main")
    assert not forward.in_backward


def test_read_site_without_cpp_frames_has_only_the_line() -> None:
    frames = [frame for frame in STACKS["output of a convolution"] if frame["filename"].endswith(".py")]
    site = read_site(frames)
    assert site.origin is Origin.UNKNOWN
    assert site.operator is site.node is None
    assert site.line == "/home/me/train.py:15"


@pytest.mark.parametrize(
    "between",
    [
        "/venv/lib/python3.11/site-packages/torch/nn/modules/module.py",
        "/usr/lib/python3/dist-packages/torch/nn/functional.py",
        "/opt/pytorch/torch/optim/adam.py",
        "/usr/lib/python3.12/contextlib.py",
        r"C:\venv\Lib\site-packages\torch\nn\modules\module.py",
        "<frozen importlib._bootstrap>",
        str(PACKAGE / "measure" / "step.py"),
    ],
)
def test_read_site_passes_over_installed_code(between: str) -> None:
    assert read_site(python(between, "/home/me/train.py")).line == "/home/me/train.py:7"


@pytest.mark.parametrize(
    "own",
    [
        "/home/me/torch/train.py",  # a folder that is called so is not PyTorch
        "/home/me/lib/python/train.py",
        "/venv/lib/python3.11/site-packages/torchvision/models/resnet.py",
        "/usr/lib/python3/dist-packages/transformers/modeling.py",
        str(PACKAGE / "workload" / "builtin_models.py"),
    ],
)
def test_read_site_takes_other_code_as_the_users(own: str) -> None:
    assert read_site(python(own, "/home/me/train.py")).line == f"{own}:7"


def test_read_site_tells_callees_from_the_operator() -> None:
    within = native("at::detail::empty_cuda(...)", "at::_ops::empty::call(...)", "at::native::cudnn_convolution(...)")
    assert read_site(within).origin is Origin.TENSOR
    scratch = native("launch_reduce(...)", "at::_ops::sum::call(...)", "at::_ops::convolution::call(...)")
    assert (read_site(scratch).origin, read_site(scratch).operator) == (Origin.WORKSPACE, "convolution")


def test_site_table_keeps_each_site_once() -> None:
    table = SiteTable()
    stack, same, other = (STACKS[what] for what in ("Adam's state", "Adam's state", "a parameter"))
    assert [table.index_of(frames) for frames in (stack, list(same), other, None, [])] == [0, 0, 1, -1, -1]
    assert list(table) == [read_site(stack), read_site(other)]
    assert table[-1] is UNKNOWN_SITE
    table.forget_frames()
    assert table.index_of([dict(frame) for frame in stack]) == 0
    assert isinstance(table[0], Site)
