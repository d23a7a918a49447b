import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import LossConfig, SweepConfig, TensorConfig
from memprof.errors import ConfigError
from tests.config.conftest import Write, refusal
from tests.paths import CONFIGS

KEYS = ", ".join(SweepConfig.model_fields)
OWN = "model: own.py:build\ninput: {shape: [4]}\ntarget: {shape: [], dtype: int64, range: [0, 2]}\n"


def test_load_model_alone_gets_defaults(write: Write) -> None:
    loaded = load(write("model: mnist_mlp"))
    assert loaded.config.name == "x"
    assert loaded.config.input == (TensorConfig(shape=(1, 28, 28)),)
    assert loaded.config.target == TensorConfig(shape=(), dtype="int64", range=(0, 10))
    assert loaded.config.loss == LossConfig(name="cross_entropy")
    assert (loaded.path, loaded.folder) == (Path("x.yaml"), Path.cwd())


def test_load_config_overrides_model_defaults(write: Write) -> None:
    config = load(write("name: y\nmodel: mnist_mlp\ninput: {shape: [784]}\nloss: sum")).config
    assert (config.name, config.input, config.target) == ("y", (TensorConfig(shape=(784,)),), None)


def test_load_name_from_unusual_file_name_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "_my first config.yaml"
    path.write_text("model: mnist_mlp")
    assert load(path).config.name == "my-first-config"


def test_load_ignores_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfmodel: mnist_mlp")
    assert load(path).config.model.name == "mnist_mlp"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "x.yaml: is empty; a config needs at least a model, for example model: mnist_mlp"),
        ("# only this\n", "x.yaml: is empty; a config needs at least a model, for example model: mnist_mlp"),
        ("\n- model", "x.yaml:2: not a mapping; write keys, for example model: mnist_mlp"),
        ("model: a: b", "x.yaml:1: broken YAML: mapping values are not allowed here"),
        ("model: mnist_mlp\nsteps: 3\nsteps: 4", "x.yaml:3: steps: given twice, first in line 2"),
        ("name: y", "x.yaml:1: model: missing; for example model: mnist_mlp"),
        ("# a\nmodle: mnist_mlp", "x.yaml:2: modle: unknown key; did you mean model?"),
        (
            "model: mnist_mlp\n\noptimizer: [sgd]",
            "x.yaml:3: optimizer: unknown key; did you mean optimizers?",
        ),
        ("model: mnist_mlp\nzzz: 1", f"x.yaml:2: zzz: unknown key; the keys here are {KEYS}"),
        (
            "model:\n  name: mnist_mlp\n  kwarg: {}",
            "x.yaml:3: model.kwarg: unknown key; did you mean kwargs?",
        ),
        (
            "model: mnist_mlp\ninput:\n  shape: [3]\n  dtyp: int64",
            "x.yaml:4: input.dtyp: unknown key; did you mean dtype?",
        ),
        (
            "model: mnist_mlp\ninput:\n- shape: [3]\n- shape: [3]\n  rang: [0, 1]",
            "x.yaml:5: input[1].rang: unknown key; did you mean range?",
        ),
        (
            "model: mnist_mlp\noptimizers:\n- sgd\n- name: adam\n  kwrgs: {}",
            "x.yaml:5: optimizers[1].kwrgs: unknown key; did you mean kwargs?",
        ),
        (
            "model: mnist_mlp\nbatch_sizes:\n  start: 1\n  stp: 4",
            "x.yaml:4: batch_sizes.stp: unknown key; did you mean stop?",
        ),
        (
            "model: mnist_mlp\ncudnn: {benchmrk: true}",
            "x.yaml:2: cudnn.benchmrk: unknown key; did you mean benchmark?",
        ),
        ("model: mnist_mlp\nloss: {kwargs: {}}", "x.yaml:2: loss.name: missing"),
        (
            "model: mnist_mlp\nbatch_sizes:\n- 16\n- 0",
            "x.yaml:4: batch_sizes[1]: 0 is too small; the minimum is 1",
        ),
        ("model: mnist_mlp\nbatch_sizes: -3", "x.yaml:2: batch_sizes: -3 is too small; the minimum is 1"),
        ("model: mnist_mlp\nbatch_sizes: [1.5]", "x.yaml:2: batch_sizes[0]: 1.5 is not a whole number"),
        ("model: mnist_mlp\nbatch_sizes: many", "x.yaml:2: batch_sizes: 'many' is not a list"),
        ("model: mnist_mlp\nbatch_sizes: []", "x.yaml:2: batch_sizes: empty; give at least one"),
        (
            "model: mnist_mlp\nmode: inference\nevaluation: {batch_size: 1000}",
            "x.yaml:3: evaluation: mode inference is an evaluation already; remove evaluation, or set mode to train",
        ),
        (
            "model: mnist_mlp\nevaluation: {batch_size: 0}",
            "x.yaml:2: evaluation.batch_size: 0 is too small; the minimum is 1",
        ),
        ("model: mnist_mlp\nbatch_sizes: [4, 8, 4]", "x.yaml:2: batch_sizes[2]: 4 is listed twice"),
        (
            "model: mnist_mlp\nbatch_sizes: {start: 8, stop: 4}",
            "x.yaml:2: batch_sizes: stop 4 is below start 8",
        ),
        (
            "model: mnist_mlp\nbatch_sizes: {start: 1, stop: 4, factor: 1}",
            "x.yaml:2: batch_sizes.factor: 1 is too small; write more than 1",
        ),
        (
            "model: mnist_mlp\nbatch_sizes: {start: 1, stop: 4096, factor: 1.00001}",
            "x.yaml:2: batch_sizes: factor 1.00001 gives more than 1000 batch sizes",
        ),
        ("model: mnist_mlp\noptimizers:\n- sgd\n- sgd", "x.yaml:4: optimizers[1]: sgd is listed twice"),
        (
            "model: mnist_mlp\noptimizers: []",
            "x.yaml:2: optimizers: empty; mode train needs at least one, for example [sgd]",
        ),
        (
            "model: mnist_mlp\noptimizers: [sgd, adma]",
            "x.yaml:2: optimizers[1]: unknown optimizer 'adma'; did you mean adam?",
        ),
        (
            "model: mnist_mlp\noptimizers: sgd+momentun",
            "x.yaml:2: optimizers: unknown optimizer 'sgd+momentun'; did you mean sgd+momentum?",
        ),
        (
            "model: mnist_mlp\nprecision: fb16",
            "x.yaml:2: precision: 'fb16' is not one of fp32, fp64, bf16, fp16, amp-bf16, amp-fp16; did you mean bf16?",
        ),
        ("model: mnist_mlp\nmode: eval", "x.yaml:2: mode: 'eval' is not one of train, inference"),
        (
            "model: mnist_mlp\ninput: {shape: [3], dtype: float23}",
            "x.yaml:2: input.dtype: 'float23' is not one of float32, float64, bfloat16, float16, int64, "
            "int32, uint8, bool; did you mean float32?",
        ),
        (
            "model: mnist_mlp\ntarget: {shape: [3], range: [0, 5]}",
            "x.yaml:2: target: range is for integer tensors, and dtype is float32",
        ),
        (
            "model: mnist_mlp\noptimizers: [sgd, no_such_package.optim:Adam8bit]",
            "x.yaml:2: optimizers[1]: no package no_such_package is installed, so there is no "
            "no_such_package.optim:Adam8bit",
        ),
        (
            "model: mnist_mlp\ngradient_accumulation: 0",
            "x.yaml:2: gradient_accumulation: 0 is too small; the minimum is 1",
        ),
        (
            "model: mnist_mlp\nactivation_checkpointing: true",
            "x.yaml:2: activation_checkpointing: true is not a whole number",
        ),
        ("model: mnist_mlp\nset_to_none: zero", "x.yaml:2: set_to_none: 'zero' is not true or false"),
        ("model: mnist_mlp\ncompiled: true", "x.yaml:2: compiled: unknown key; did you mean compile?"),
        (
            "model: mnist_mlp\ngradient_accumulation: 4\noptimizer_in_backward: true",
            "x.yaml:3: optimizer_in_backward: gradient_accumulation: 4 needs the gradients of all its passes; set it "
            "to 1, or set optimizer_in_backward to false",
        ),
        (
            "model: mnist_mlp\noptimizer_in_backward: true\nprecision: amp-fp16",
            "x.yaml:2: optimizer_in_backward: precision: amp-fp16 has a GradScaler, which needs all gradients before "
            "a step; write amp-bf16, or set optimizer_in_backward to false",
        ),
        (
            "model: mnist_mlp\noptimizer_in_backward: true\nset_to_none: false",
            "x.yaml:2: optimizer_in_backward: set_to_none: false keeps the gradients, and this frees them; set it "
            "to true, or set optimizer_in_backward to false",
        ),
        ("model: mnist_mlp\nsteps: 2", "x.yaml:2: steps: 2 is too small; the minimum is 3"),
        ("model: mnist_mlp\nsteps: 20000", "x.yaml:2: steps: 20000 is too large; the maximum is 10000"),
        ("model: mnist_mlp\nseed: yes", "x.yaml:2: seed: true is not a whole number"),
        ("model: mnist_mlp\ntf32: maybe", "x.yaml:2: tf32: 'maybe' is not true or false"),
        ("model: mnist_mlp\ncudnn: true", "x.yaml:2: cudnn: true is not a mapping"),
        ("model: mnist_mlp\ngpu: 0", "x.yaml:2: gpu: 0 is not text"),
        (
            "model: mnist_mlp\ntimeout_seconds: .inf",
            "x.yaml:2: timeout_seconds: Infinity is not a finite number",
        ),
        (
            "name: a b\nmodel: mnist_mlp",
            "x.yaml:1: name: 'a b' is not a name of letters, digits, dots, - and _",
        ),
        ("model: ''", "x.yaml:1: model: empty"),
        ("model: mnist_mpl", "x.yaml:1: model: unknown model 'mnist_mpl'; did you mean mnist_mlp?"),
        (
            "model: resnet50",
            "x.yaml:1: model: unknown model 'resnet50'; write one of mnist_mlp, cifar_mlp, mnist_cnn, "
            "cifar_conv, pool_net, conv_relu, or torchvision:resnet50, or FILE.py:FACTORY",
        ),
        ("model:\n  name: own.py:build", "x.yaml:1: model: no file own.py in ."),
        (
            "model: mnist_mlp\nsteps: 1\nseed: -1\noptimizer: 3",
            "x.yaml:4: optimizer: unknown key; did you mean optimizers? (and 2 more problems)",
        ),
        (
            "model: mnist_mlp\nseed: -1\nsteps: 1",
            "x.yaml:2: seed: -1 is too small; the minimum is 0 (and 1 more problem)",
        ),
    ],
)
def test_load_problem_is_one_line_with_position(write: Write, text: str, problem: str) -> None:
    assert refusal(write(text)) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "model: own.py:build",
            "x.yaml:1: input: missing; memprof does not know that of this model: write input: {shape: [3, 224, 224]}, "
            "or --input 3x224x224",
        ),
        (
            "model: own.py:build\ninput: {shape: [4]}",
            "x.yaml:1: target: missing; loss cross_entropy needs it, for example {shape: [], dtype: int64, "
            "range: [0, 10]}, or --classes 10; or write loss: sum",
        ),
        ("model: onw.py:build", "x.yaml:1: model: no file onw.py in .; did you mean own.py?"),
    ],
)
def test_load_user_model_needs_file_input_and_target(write: Write, text: str, problem: str) -> None:
    path = write(text)
    Path("own.py").touch()
    assert refusal(path) == problem


def test_load_user_model_path_is_relative_to_config(write: Write) -> None:
    Path("deep").mkdir()
    Path("deep/own.py").touch()
    path = write(OWN).rename("deep/x.yaml")
    assert load(path).folder == Path.cwd() / "deep"


def test_load_missing_file_suggests_nearest(write: Write) -> None:
    write("model: mnist_mlp").rename("resnet.yaml")
    assert refusal(Path("resnett.yaml")) == "resnett.yaml: no such file; did you mean resnet.yaml?"
    assert refusal(Path("nowhere/x.yaml")) == "nowhere/x.yaml: no such file"


def test_load_folder_is_refused_with_example(write: Write) -> None:
    Path("configs").mkdir()
    write("model: mnist_mlp").rename("configs/a.yaml")
    told = "configs: is a folder; name one config file in it, for example configs/a.yaml"
    assert refusal(Path("configs")) == told


def test_load_path_through_file_is_refused(write: Write) -> None:
    assert refusal(write("model: mnist_mlp") / "deeper") == "x.yaml/deeper: cannot be read: Not a directory"


def test_load_not_utf_8_is_refused_with_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    assert refusal(path) == f"{path}: is not UTF-8 text (byte 6); save it as UTF-8"


def test_load_wrong_option_is_named_without_line(write: Write) -> None:
    wrong = Override(flag=Flag.SET, text="batch_sise=3")
    told = "--set batch_sise=3: unknown key; did you mean batch_sizes?"
    assert refusal(write("model: mnist_mlp"), wrong) == told


def test_load_option_can_fix_file(write: Write) -> None:
    right = Override(flag=Flag.SET, text="batch_sizes=[4]")
    assert load(write("model: mnist_mlp\nbatch_sizes: [0]"), [right]).config.batch_sizes == (4,)


def test_load_set_changes_one_key_of_default(write: Write) -> None:
    options = ["target.range=[0, 5]", "input.dtype=float64", "loss.kwargs.label_smoothing=0.1"]
    config = load(write("model: mnist_mlp"), [Override(flag=Flag.SET, text=text) for text in options]).config
    assert config.input == (TensorConfig(shape=(1, 28, 28), dtype="float64"),)
    assert config.target == TensorConfig(shape=(), dtype="int64", range=(0, 5))
    assert config.loss == LossConfig(name="cross_entropy", kwargs={"label_smoothing": 0.1})


def test_load_other_model_keeps_configured_input(write: Write) -> None:
    other = Override(flag=Flag.SET, text="model=torchvision:resnet18")
    config = load(write("model: mnist_mlp\ninput: {shape: [1, 28, 28]}"), [other]).config
    assert config.input == (TensorConfig(shape=(1, 28, 28)),)
    assert config.target == TensorConfig(shape=(), dtype="int64", range=(0, 1000))


def test_load_optimizer_option_in_inference_is_refused(write: Write) -> None:
    option = Override(flag=Flag.OPTIMIZER, text="sgd")
    told = "--optimizer sgd: mode inference has no optimizer; set mode=train or leave it out"
    assert refusal(write("model: pool_net\nmode: inference"), option) == told


def test_load_does_not_import_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from memprof.config.load import load; "
        f"load(Path({str(CONFIGS / 'resnet50.yaml')!r})); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CONFIGS.parent)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def load_or_refuse(text: str, overrides: list[Override]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            told = None
            assert load(path, overrides).config.points()
        except ConfigError as error:
            told = str(error)
        if told is not None:
            assert len(told.splitlines()) == 1
            names = [str(path), *(str(override) for override in overrides)]
            cut = told.partition("...: ")[0]  # a long option is cut: its escapes may be ten times its characters
            assert told.startswith(tuple(names)) or (len(cut) > 40 and any(name.startswith(cut) for name in names))


@settings(deadline=None)
@given(st.text())
def test_load_any_text_is_config_or_one_line(text: str) -> None:
    load_or_refuse(text, [])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(SweepConfig.model_fields)), ANYTHING))
def test_load_any_values_are_config_or_one_line(value: dict[str, Any]) -> None:
    load_or_refuse(json.dumps({"model": "mnist_mlp", **value}, ensure_ascii=True), [])


@settings(deadline=None)
@given(
    st.sampled_from([*SweepConfig.model_fields, "input.shape", "optimizers.0.kwargs.lr", "model.kwargs"]),
    ANYTHING,
    st.lists(st.builds(Override, flag=st.sampled_from(Flag), text=st.text(max_size=12)), max_size=3),
)
def test_load_any_options_are_accepted_or_one_line(key: str, value: Any, others: list[Override]) -> None:
    option = Override(flag=Flag.SET, text=f"{key}={json.dumps(value)}")
    load_or_refuse("model: mnist_mlp\noptimizers: [sgd, adam]", [option, *others])
