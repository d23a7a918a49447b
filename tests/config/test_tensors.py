"""Inputs as models take them: positional, by keyword, nested, one item per sample, in named sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import SweepConfig
from memprof.config.tensors import PerSample, TensorConfig
from memprof.errors import ConfigError

DETECTION = """
model: torchvision:fasterrcnn_resnet50_fpn
input:
  images: {per_sample: {shape: [3, height, 320]}}
  targets: {per_sample: {boxes: {shape: [5, 4]}, labels: {shape: [5], dtype: int64, range: [1, 91]}}}
sizes: {height: 240}
loss: output
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return file

    return write


def refused(file: Path, *overrides: Override) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    return str(caught.value)


def test_one_tensor_is_one_positional_input() -> None:
    config = SweepConfig.model_validate({"name": "x", "model": "m.py:f", "input": {"shape": [3]}})
    assert config.input == (TensorConfig(shape=(3,)),)


def test_keyword_and_nested_inputs_are_kept_by_name(write: Any) -> None:
    config = load(write(DETECTION)).config
    assert isinstance(config.input, dict)
    targets = config.input["targets"]
    assert isinstance(targets, PerSample)
    assert isinstance(targets.per_sample, dict)
    assert list(targets.per_sample) == ["boxes", "labels"]
    paths = [".".join(map(str, path)) for path, _ in config.tensors()]
    assert paths == [
        "input.images.per_sample",
        "input.targets.per_sample.boxes",
        "input.targets.per_sample.labels",
    ]


def test_nested_inputs_survive_the_way_to_a_worker(write: Any) -> None:
    config = load(write(DETECTION)).config
    assert SweepConfig.model_validate_json(config.model_dump_json()) == config


def test_a_size_is_set_in_one_place(write: Any) -> None:
    config = load(write(DETECTION), [Override(flag=Flag.SET, text="sizes.height=480")]).config
    tensor = next(tensor for _, tensor in config.tensors())
    assert tensor.resolved(config.sizes).shape == (3, 480, 320)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[3, height, 320]", "[3, heigth, 320]", "config.yaml:4: input.images.per_sample.shape: there is no size "
         "'heigth'; did you mean height?"),
        ("sizes: {height: 240}\n", "", "there is no size 'height'; add sizes: {height: 512}"),
        ("[1, 91]", "[height, 91]", "range [240, 91] is empty; write [low, high] with low < high"),
        ("{height: 240}", "{height: 0}", "config.yaml:6: sizes.height: 0 is too small"),
        ("{height: 240}", "{'a b': 240}", "sizes"),
        ("boxes: {shape: [5, 4]}", "boxes: {shap: [5, 4]}", "boxes"),
        ("dtype: int64", "dtyp: int64", "unknown key; did you mean dtype?"),
        ("  images:", "  im ages:", "im ages"),
    ],
)  # fmt: skip
def test_a_mistake_in_inputs_is_named(write: Any, old: str, new: str, says: str) -> None:
    assert old in DETECTION
    assert says in refused(write(DETECTION.replace(old, new)))


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("GPT2LMHeadModel", ("seq_len",)),
        ("LlamaForCausalLM", ("seq_len",)),
        ("BertForMaskedLM", ("seq_len",)),
        ("BertForTokenClassification", ("seq_len",)),
        ("BertForSequenceClassification", ()),
        ("ViTForImageClassification", ()),
    ],
)
def test_a_transformers_model_has_labels_and_its_own_loss(write: Any, model: str, labels: tuple[str, ...]) -> None:
    config = load(write(f"model: transformers:{model}")).config
    assert isinstance(config.input, dict)
    assert config.loss.name == "output"
    found = config.input["labels"]
    assert isinstance(found, TensorConfig)
    assert found.shape == labels


def test_labels_are_added_to_the_users_own_tokens(write: Any) -> None:
    text = "model: transformers:GPT2LMHeadModel\ninput: {input_ids: {shape: [77], dtype: int64}}"
    config = load(write(text)).config
    assert isinstance(config.input, dict)
    assert config.input["labels"] == TensorConfig(shape=(77,), dtype="int64")


@pytest.mark.parametrize("more", ["mode: inference", "loss: sum"])
def test_without_the_models_own_loss_there_are_no_labels(write: Any, more: str) -> None:
    text = f"model: transformers:GPT2LMHeadModel\ninput: {{input_ids: {{shape: [77], dtype: int64}}}}\n{more}"
    config = load(write(text)).config
    assert isinstance(config.input, dict)
    assert list(config.input) == ["input_ids"]


def test_a_folder_with_a_config_json_names_its_class(write: Any, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    config = load(write("model: transformers:checkpoint")).config
    assert isinstance(config.input, dict)
    assert list(config.input) == ["input_ids", "labels"]
