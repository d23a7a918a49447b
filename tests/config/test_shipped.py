"""The shipped configs, and the JSON schema of the config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from memprof.config.load import json_schema, load
from memprof.config.overrides import Flag, Override
from tests.config.conftest import refusal
from tests.paths import CONFIGS

SHIPPED = sorted(CONFIGS.glob("*.yaml"))
LOOPS = sorted((CONFIGS / "loops").glob("*.yaml"))  # of training loops with data, checkpoints or evaluation


@pytest.mark.parametrize("path", [*SHIPPED, *LOOPS], ids=lambda path: path.stem)
def test_shipped_config_matches_schema_and_loads(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema())
    loaded = load(path)
    assert loaded.config.name == path.stem
    assert loaded.config.points()


def test_shipped_configs_are_complete() -> None:
    assert {path.stem for path in SHIPPED} == {
        *("mnist_mlp", "cifar_mlp", "mnist_cnn", "cifar_conv", "pool_net", "conv_relu"),
        *("resnet18", "resnet50", "vit_b_16", "mobilenet_v2", "own_model"),
    }


def test_shipped_mnist_mlp_has_fifteen_points() -> None:
    config = load(CONFIGS / "mnist_mlp.yaml").config
    assert [o.label for o in config.optimizers] == ["sgd", "sgd+momentum", "adam"]
    assert config.list_batch_sizes() == (16, 64, 256, 1024, 4096)
    assert len(config.points()) == 15


def test_shipped_user_model_tags_every_token() -> None:
    import torch

    from memprof.workload import build_loss, build_model, make_batch

    loaded = load(CONFIGS / "own_model.yaml", [Override(flag=Flag.SET, text="model.kwargs.layers=1")])
    model = build_model(loaded.config, loaded.folder)
    batch = make_batch(loaded.config, 2, torch.device("cpu"))
    output = model(*batch.inputs)
    assert output.shape == (2, 9, 128)
    assert build_loss(loaded.config)(output, batch.target).ndim == 0


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"model": {"name": "mnist_mlp", "kwargs": {"a": [1]}}},
        {"input": [{"shape": [1]}, {"shape": []}]},
        {"input": {"shape": [1]}, "target": {"shape": [], "dtype": "int64", "range": [0, 2]}},
        {"optimizers": "sgd"},
        {"optimizers": ["sgd", {"name": "adam", "label": "a"}]},
        {"batch_sizes": 4},
        {"batch_sizes": [4]},
        {"batch_sizes": {"start": 1, "stop": 2}},
    ],
)
def test_json_schema_accepts_short_and_long_forms(keys: dict[str, Any]) -> None:
    jsonschema.validate({"model": "mnist_mlp", **keys}, json_schema())


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"model": 3},
        {"model": "mnist_mlp", "optimizer": "sgd"},
        {"model": "mnist_mlp", "batch_sizes": [0]},
        {"model": "mnist_mlp", "batch_sizes": {"start": 1}},
        {"model": "mnist_mlp", "cudnn": {"benchmrk": True}},
        {"model": "mnist_mlp", "precision": "fp8"},
    ],
)
def test_json_schema_refuses_what_load_refuses(value: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema())
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(value))
    refusal(path)


def test_json_schema_describes_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    sections = [schema, *(part for part in schema["$defs"].values() if "properties" in part)]
    keys = {name: key for section in sections for name, key in section["properties"].items()}
    assert {name for name, key in keys.items() if not key.get("description")} == set()
    assert len(sections) == 24
