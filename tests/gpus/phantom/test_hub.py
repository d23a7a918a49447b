"""Models and training loops of other packages on a phantom; what is not installed is skipped (the extra is `hub`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.gpus.select import Device
from memprof.records import Status
from memprof.worker.client import WorkerClient
from tests.paths import CONFIGS

Figures = Callable[..., Mapping[str, Any]]
HUB_CONFIGS = CONFIGS / "hub"


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    reason = f"not installed: {', '.join(missing)}; pip install -e '.[hub]'"
    return pytest.mark.skipif(bool(missing), reason=reason)


@pytest.mark.parametrize(
    ("config", "batch_size", "kwargs", "parameters_bytes"),
    [
        pytest.param("bert_base", 32, "num_hidden_layers=2", None, marks=needs("transformers"), id="bert of 2 layers"),
        pytest.param("gpt2", 1, "n_layer=2", None, marks=needs("transformers"), id="gpt2 of 2 layers"),
        pytest.param("llama_small", 1, None, 2 * 19_286_272, marks=needs("transformers"), id="llama"),
        pytest.param("efficientnet_b0", 16, None, 4 * 4_135_648, marks=needs("timm"), id="timm"),
    ],
)
def test_a_model_of_a_hub_is_named_in_a_config_and_measured(
    config: str, batch_size: int, kwargs: str | None, parameters_bytes: int | None, phantom_device: Device
) -> None:
    chosen = [Override(flag=Flag.BATCH_SIZE, text=str(batch_size))]
    if kwargs is not None:
        chosen.append(Override(flag=Flag.SET, text=f"model.kwargs.{kwargs}"))
    loaded = load(HUB_CONFIGS / f"{config}.yaml", chosen)
    points = list(loaded.config.points())
    with WorkerClient(loaded, phantom_device) as client:
        [outcome] = client.outcomes(points, jobs=1)
        [breakdown] = client.breakdowns(points)
    assert outcome.error is None
    assert outcome.status is Status.OK
    assert outcome.reading is not None
    assert outcome.reading.peak_allocated_bytes > breakdown.parameters_bytes + breakdown.gradients_bytes
    if parameters_bytes is not None:
        assert breakdown.parameters_bytes == parameters_bytes


@needs("peft", "transformers")
def test_lora_trains_the_adapters_alone(figures: Figures) -> None:
    found = figures("hub.py", "lora")
    layers, rank, width = 2, 8, 768
    assert found["trained"] == layers * rank * (width + 3 * width)
    assert found["states"] == 2 * layers
    assert found["peak"] < 4 * 4 * found["total"]  # gradients and AdamW's state of all would take this much


@needs("lightning")
def test_lightnings_trainer_runs_three_steps(figures: Figures) -> None:
    found = figures("hub.py", "lightning")
    assert (found["steps"], found["device"]) == (3, "cuda:0")


@needs("transformers", "accelerate")
def test_transformers_trainer_runs_three_steps(figures: Figures) -> None:
    found = figures("hub.py", "transformers")
    assert (found["steps"], found["device"]) == (3, "cuda:0")
