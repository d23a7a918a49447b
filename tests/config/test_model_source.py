"""A model's name in place of a config file."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.config.load import IncompleteConfigError, load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import LossConfig, TensorConfig
from tests.config.conftest import Write, refusal


def _given(**options: str) -> list[Override]:
    return [Override(flag=Flag[name.upper()], text=text) for name, text in options.items()]


@pytest.mark.parametrize(
    ("name", "results"),
    [
        ("mnist_mlp", "mnist_mlp"),
        ("torchvision:resnet50", "resnet50"),
        ("transformers:meta-llama/Llama-3.1-8B", "Llama-3.1-8B"),
        ("nets/net.py:build", "net-build"),
    ],
)
def test_model_name_is_the_name_of_the_results(name: str, results: str, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "net.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        options = _given(input="4", loss="sum") if name != "mnist_mlp" else []
        loaded = load(Path(name), options)
    assert (loaded.config.name, loaded.config.model.name, loaded.has_file) == (results, name, False)
    assert loaded.folder == tmp_path


def test_model_name_that_is_a_file_is_a_config(write: Write) -> None:
    write("model: cifar_mlp").rename("mnist_mlp")
    loaded = load(Path("mnist_mlp"))
    assert (loaded.config.model.name, loaded.has_file) == ("cifar_mlp", True)


def test_model_options_set_the_keys_of_a_config() -> None:
    options = _given(classes="10", precision="amp-bf16", loss="multi_margin_loss", optimizer="adamw")
    config = load(Path("torchvision:resnet18"), options).config
    assert config.model.kwargs == {"num_classes": 10}
    assert config.target == TensorConfig(shape=(), dtype="int64", range=(0, 10))
    assert (config.precision, config.loss) == ("amp-bf16", LossConfig(name="multi_margin_loss"))
    assert [optimizer.name for optimizer in config.optimizers] == ["adamw"]


def test_model_options_change_a_config_file_too(write: Write) -> None:
    file = write("model: torchvision:resnet18\ninput: {shape: [3, 64, 64]}\n")
    loaded = load(file, _given(input="3x32x32"))
    assert loaded.config.input == (TensorConfig(shape=(3, 32, 32)),)
    assert "input" not in loaded.inferred
    assert {"target", "loss"} <= loaded.inferred


def test_seq_len_sets_the_size_of_a_language_model() -> None:
    config = load(Path("transformers:GPT2LMHeadModel"), _given(seq_len="64")).config
    assert dict(config.sizes) == {"seq_len": 64}


def test_segmentation_model_has_a_class_for_each_pixel() -> None:
    config = load(Path("torchvision:fcn_resnet50"), _given(classes="5")).config
    assert config.target == TensorConfig(shape=(520, 520), dtype="int64", range=(0, 5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet50",
            {},
            "resnet50: no such file; for a model, write for example torchvision:resnet50 or timm:resnet50",
        ),
        ("net.py", {}, "net.py: is a Python file; for a model in it, name the function or class that returns it, as"),
        ("gone.py:build", {}, "gone.py:build: model: no file gone.py"),
        ("mnist_mlp", {"seq_len": "8"}, "--seq-len 8: no input of this model has the size seq_len"),
        ("torchvision:resnet18", {"classes": "ten"}, "--classes ten: 'ten' is not a whole number"),
        ("torchvision:resnet18", {"precision": "fp23"}, "--precision fp23: 'fp23' is not one of fp32, "),
        ("mnist_mlp", {"classes": "3", "target": "scalar"}, "--classes 3: --target describes the classes already"),
        ("mnist_mlp", {"input": "0x3"}, "--input 0x3: 0 is too small; the minimum is 1"),
    ],
)
def test_model_name_or_option_refused_in_one_line(
    name: str, options: dict[str, str], message: str, write: Write
) -> None:
    write("")
    assert refusal(Path(name), *_given(**options)).startswith(message)


def test_missing_input_or_target_can_be_proposed(write: Write) -> None:
    Path("net.py").touch()
    write("")
    for options, key in (([], "input"), (_given(input="4"), "target")):
        with pytest.raises(IncompleteConfigError, match=f"net.py:build: {key}: missing; ") as caught:
            load(Path("net.py:build"), options)
        assert caught.value.folder == Path.cwd()
        assert caught.value.settings["model"] == "net.py:build"
