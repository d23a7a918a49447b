from typing import Any

import pytest

from memprof.config.overrides import Flag, Override, Settings, apply
from memprof.errors import ConfigError

VALUE: dict[str, Any] = {
    "model": "mnist_mlp",
    "input": [{"shape": [1, 28, 28]}],
    "optimizers": ["sgd", {"name": "adam", "kwargs": {"lr": 0.1}, "label": "fast"}],
    "steps": 3,
}


def overridden(*options: tuple[str, str], value: dict[str, Any] = VALUE) -> dict[str, Any]:
    """Return the keys of `value` that the options change, with what they change them to."""
    overrides = [Override(flag=Flag(flag), text=text) for flag, text in options]
    after = apply(Settings(value=value, places={(): "x.yaml"}), overrides).value
    return {key: item for key, item in after.items() if item != value.get(key)}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("model=torchvision:resnet18", {"model": "torchvision:resnet18"}),
        ("optimizers=[sgd]", {"optimizers": ["sgd"]}),
        ("cudnn.benchmark=true", {"cudnn": {"benchmark": True}}),
        ("input.shape=[3, 32, 32]", {"input": [{"shape": [3, 32, 32]}]}),
        ("input.0.dtype=int64", {"input": [{"shape": [1, 28, 28], "dtype": "int64"}]}),
        ("model.kwargs.num_classes=10", {"model": {"name": "mnist_mlp", "kwargs": {"num_classes": 10}}}),
        (
            "optimizers.sgd.kwargs.lr=1e-3",
            {"optimizers": [{"name": "sgd", "kwargs": {"lr": 1e-3}}, VALUE["optimizers"][1]]},
        ),
        (
            "optimizers.fast.kwargs.lr=1",
            {"optimizers": ["sgd", {"name": "adam", "kwargs": {"lr": 1}, "label": "fast"}]},
        ),
        ("optimizers.1=adamw", {"optimizers": ["sgd", "adamw"]}),
        ("allocator=", {}),
        ("allocator=a=b", {"allocator": "a=b"}),
        ("batch_size=64", {"batch_sizes": 64}),
        ("optimizer=adam", {"optimizers": "adam"}),
    ],
)
def test_apply_set_puts_value_at_key(text: str, changed: dict[str, Any]) -> None:
    assert overridden(("--set", text)) == changed


def test_apply_last_set_wins() -> None:
    assert overridden(("--set", "steps=4"), ("--set", "steps=5")) == {"steps": 5}


def test_apply_gpu_option_overrides_set() -> None:
    assert overridden(("--gpu", "t4"), ("--set", "gpu=a10g")) == {"gpu": "t4"}


def test_apply_batch_sizes_replace_file_in_order() -> None:
    assert overridden(("--batch-size", "64"), ("--batch-size", "16")) == {"batch_sizes": [64, 16]}


def test_apply_optimizer_label_selects_configured_one() -> None:
    options = [("--optimizer", "FAST"), ("--optimizer", "adamw")]
    assert overridden(*options) == {"optimizers": [VALUE["optimizers"][1], "adamw"]}


def test_apply_leaves_file_content_unchanged() -> None:
    before = repr(VALUE)
    overridden(("--set", "input.shape=[1]"), ("--set", "optimizers.fast.kwargs.lr=2"))
    assert repr(VALUE) == before


def test_apply_remembers_option_of_each_key() -> None:
    places = {
        (): "x.yaml",
        ("input",): "x.yaml:2",
        ("input", 0): "x.yaml:2",
        ("input", 0, "shape"): "x.yaml:3",
    }
    shape = Override(flag=Flag.SET, text="input.shape=[1]")
    size = Override(flag=Flag.BATCH_SIZE, text="4")
    after = apply(Settings(value=VALUE, places=places), [shape, size]).places
    assert after == {**places, ("input", 0, "shape"): shape, ("batch_sizes", 0): size}


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (("--set", "steps"), "--set steps: write --set key=value, for example --set steps=5"),
        (("--set", "=5"), "--set =5: write --set key=value, for example --set steps=5"),
        (("--set", "cudnn..x=5"), "--set cudnn..x=5: write --set key=value, for example --set steps=5"),
        (
            ("--set", "input.shape=[3"),
            "--set input.shape=[3: broken YAML: while parsing a flow sequence, expected ',' or ']', "
            "but got '<stream end>'",
        ),
        (("--set", "steps.x=5"), "--set steps.x=5: 3 has no key x"),
        (
            ("--set", "optimizers.adm.lr=5"),
            "--set optimizers.adm.lr=5: no item adm; the items are 0, 1, sgd, fast",
        ),
        (("--set", "optimizers.2=sgd"), "--set optimizers.2=sgd: no item 2; the items are 0, 1, sgd, fast"),
        (("--batch-size", "many"), "--batch-size many: 'many' is not a whole number"),
        (("--set", "a\nb"), "--set a b: write --set key=value, for example --set steps=5"),
    ],
)
def test_apply_invalid_option_is_refused_by_name(option: tuple[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(option)
    assert str(caught.value) == problem
