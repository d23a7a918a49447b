"""The real cuDNN's workspaces: against published ones, on every GPU, and for layouts and modes that failed before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from memprof.gpus.catalog import find_gpu, load_catalog
from memprof.gpus.select import runnable_gpus

Figures = Callable[..., Mapping[str, Any]]


class Convolution(NamedTuple):
    """A forward convolution with padding 1, and its workspace on a real RTX 3090 Ti with cuDNN 9.20.0."""

    dtype: str
    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    published_bytes: int


# Source: workspace_profiles.json of https://github.com/FanBB2333/FakeGPU (torch 2.12.1+cu130).
PUBLISHED = (
    Convolution("bfloat16", (2, 64, 128, 128), (64, 64, 3, 3), 8_462_848),
    Convolution("float32", (2, 64, 128, 128), (64, 64, 3, 3), 8_536_576),
    Convolution("float32", (4, 128, 64, 64), (128, 128, 3, 3), 8_978_944),
)
# The ranking of plans in each known version: which plan it ranks first if not the one of 9.20, and its workspace.
RANKED_FIRST: Mapping[int, Mapping[int, int]] = {
    92000: {},
    92400: {1: 410_112},
    92600: {1: 410_112},
}
RTX_3090_TI = replace(find_gpu("rtx-3090"), name="NVIDIA GeForce RTX 3090 Ti", multiprocessors=84)


# What a real H200 took with cuDNN 9.19 for float32 and channels_last, forward and backward: layers of MobileNetV2.
BATCH_NORM_SCRATCH = {
    (16, 32, 112, 112): [1_619_252, 1_071_652],
    (16, 96, 112, 112): [3_237_432, 2_142_248],
    (16, 144, 56, 56): [1_214_716, 804_396],
    (16, 192, 28, 28): [304_492, 202_284],
    (16, 576, 14, 14): [228_664, 153_156],
    (16, 1280, 7, 7): [135_312, 93_296],
}


# What a real H200 took with cuDNN 9.19 for the gradient of a weight of 3x3: batch, input and output channels, side,
# kernel, stride. Each follows from the peak of a model in docs/fidelity, to the byte.
SPLIT_K = {
    (2, 512, 512, 28, 3, 1): 21_365_247,  # VGG: 7 parts of 12 tiles
    (8, 512, 512, 28, 3, 1): 43_778_799,  # VGG-11, batch 8: 11 parts of 12 tiles
    (16, 256, 256, 14, 3, 1): 15_860_319,  # ResNet-18, batch 16: 3 parts of 36 tiles
    (2, 512, 512, 28, 3, 2): 13_451_280,  # wide ResNet-50: no parts, since the sums are short
    (2, 2048, 512, 32, 3, 1): 58_720_403,  # FCN: no parts, since the tiles take more than two rounds
}


@pytest.fixture(scope="module")
def convolutions(figures: Figures) -> Mapping[str, Any]:
    cases = json.dumps([case[:3] for case in PUBLISHED])
    return figures("convolutions.py", cases, gpu=RTX_3090_TI)


@pytest.fixture(scope="module")
def every_gpu(figures: Figures) -> Mapping[str, Any]:
    return figures("every_gpu.py")


@pytest.fixture(scope="module")
def depthwise(figures: Figures) -> Mapping[str, Any]:
    return figures("depthwise.py")


@pytest.mark.parametrize("number", range(len(PUBLISHED)))
def test_convolution_workspace_is_published_or_of_the_first_plan(number: int, convolutions: Mapping[str, Any]) -> None:
    version = convolutions["cudnn"]
    if version // 100 * 100 not in RANKED_FIRST:
        pytest.skip(f"which plans cuDNN {version} ranks first is not known")
    expected = RANKED_FIRST[version // 100 * 100].get(number, PUBLISHED[number].published_bytes)
    assert convolutions["workspaces"][number] == expected


def test_none_of_these_workspaces_is_unknown(convolutions: Mapping[str, Any]) -> None:
    assert convolutions["unknown"] == 0


@pytest.mark.parametrize("key", runnable_gpus())
def test_cudnn_reports_every_workspace_of_a_training_step(key: str, every_gpu: Mapping[str, Any]) -> None:
    """cuDNN 9.24 and 9.26 answer for every architecture that PyTorch runs on; 9.10 does not."""
    asked = find_gpu(key).compute_capability != "10.0" or every_gpu[key]["cudnn"] >= 91900
    assert (every_gpu[key]["unknown"] == 0) is asked


@pytest.mark.parametrize("key", runnable_gpus())
def test_forked_child_emulates_the_gpu_of_its_environment(key: str, every_gpu: Mapping[str, Any]) -> None:
    spec, seen = load_catalog()[key], every_gpu[key]
    assert seen["name"] == spec.name
    assert seen["capability"] == spec.compute_capability
    assert (seen["total"], seen["multiprocessors"]) == (spec.total_bytes, spec.multiprocessors)
    assert seen["allocated"] > 0


def test_gpus_of_different_architectures_take_different_memory(every_gpu: Mapping[str, Any]) -> None:
    taken = {key: every_gpu[key]["allocated"] for key in ("t4", "a100-40gb", "h100-80gb")}
    assert len(set(taken.values())) == 3


def test_depthwise_channels_last_trains_with_known_workspaces(
    depthwise: Mapping[str, Any],
) -> None:
    assert depthwise["gradient"] == [16, 1, 3, 3]
    assert depthwise["channels_last"]
    assert depthwise["unknown"] == 0


def test_the_benchmark_mode_tries_the_plans_and_takes_one(depthwise: Mapping[str, Any]) -> None:
    assert depthwise["benchmarked"] == {"output": [2, 64, 30, 30], "unknown": 0}


def test_channels_last_batch_norm_takes_what_a_real_gpu_took(figures: Figures) -> None:
    found = figures("batch_norm.py", json.dumps(list(BATCH_NORM_SCRATCH)))
    assert found["scratch"] == list(BATCH_NORM_SCRATCH.values())


def test_a_weight_gradient_takes_the_split_k_workspace_of_a_real_gpu(figures: Figures) -> None:
    found = figures("gradients.py", json.dumps(list(SPLIT_K)), gpu="h200")
    of_the_weight = [workspaces[2] for workspaces in found["workspaces"]]
    # The rule of cudnn_split_k.c gives 48 bytes less for the second.
    assert of_the_weight == pytest.approx(list(SPLIT_K.values()), abs=48)
