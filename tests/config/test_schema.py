import string
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memprof.config.schema import BatchRange, Mode, OptimizerConfig, Precision, SweepConfig, TensorConfig

SMALLEST = {"name": "one", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}}

NAMES = st.text(alphabet=string.ascii_letters, min_size=1, max_size=8)
COUNTS = st.integers(min_value=1, max_value=4096)
KWARGS = st.dictionaries(
    NAMES,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
TENSORS: st.SearchStrategy[dict[str, Any]] = st.builds(dict, shape=st.lists(COUNTS, max_size=4)) | st.builds(
    lambda shape, low, size: {"shape": shape, "dtype": "int32", "range": [low, low + size]},
    st.lists(COUNTS, max_size=2),
    st.integers(min_value=-1000, max_value=1000),
    COUNTS,
)
OPTIMIZERS = st.lists(
    NAMES | st.fixed_dictionaries({"name": NAMES}, optional={"kwargs": KWARGS, "label": NAMES}),
    min_size=1,
    max_size=4,
    unique_by=lambda o: str(o if isinstance(o, str) else o.get("label", o["name"])),
)
BATCH_SIZES = st.lists(COUNTS, min_size=1, max_size=5, unique=True) | st.builds(
    lambda start, more, factor: {"start": start, "stop": start + more, "factor": factor},
    COUNTS,
    COUNTS,
    st.floats(min_value=1.1, max_value=100.0),
)
CONFIGS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "model": NAMES | st.fixed_dictionaries({"name": NAMES, "kwargs": KWARGS}),
        "input": TENSORS,
    },
    optional={
        "target": TENSORS,
        "loss": NAMES,
        "optimizers": OPTIMIZERS,
        "batch_sizes": BATCH_SIZES | COUNTS,
        "precision": st.sampled_from([p.value for p in Precision]),
        "mode": st.sampled_from([m.value for m in Mode]),
        "steps": st.integers(min_value=3, max_value=10_000),
        "seed": st.integers(min_value=0, max_value=2**63 - 1),
        "allocator": st.none() | st.text().filter(str.isprintable),
        "gradient_accumulation": COUNTS,
        "activation_checkpointing": st.none() | COUNTS,
        "set_to_none": st.booleans(),
        "compile": st.booleans(),
        "cudnn": st.fixed_dictionaries({}, optional={"benchmark": st.booleans()}),
        "timeout_seconds": st.floats(min_value=1e-3, max_value=1e6),
    },
)


def config(**keys: Any) -> SweepConfig:
    return SweepConfig.model_validate(SMALLEST | keys)


@given(CONFIGS)
def test_config_json_round_trip_is_equal(value: dict[str, Any]) -> None:
    before = SweepConfig.model_validate(value)
    assert SweepConfig.model_validate_json(before.model_dump_json()) == before


@given(CONFIGS)
def test_config_validated_twice_is_equal(value: dict[str, Any]) -> None:
    once = SweepConfig.model_validate(value)
    assert SweepConfig.model_validate(once.model_dump()) == once


def test_config_short_forms_equal_long_forms() -> None:
    short = config(loss="mse_loss", optimizers="sgd", batch_sizes=64)
    long = config(
        model={"name": "mnist_mlp", "kwargs": {}},
        input=[{"shape": [1, 28, 28], "dtype": "float32"}],
        loss={"name": "mse_loss"},
        optimizers=[{"name": "sgd", "kwargs": {}, "label": "sgd"}],
        batch_sizes=[64],
    )
    assert short == long


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("sgd+momentum", {"momentum": 0.9}), ("SGD+Nesterov", {"momentum": 0.9, "nesterov": True})],
)
def test_optimizer_short_name_is_expanded_and_kept_as_label(name: str, kwargs: dict[str, Any]) -> None:
    (optimizer,) = config(optimizers=[name]).optimizers
    assert optimizer == OptimizerConfig(name="sgd", kwargs=kwargs, label=name)


def test_optimizer_own_arguments_override_short_name() -> None:
    optimizer = OptimizerConfig(name="sgd+momentum", kwargs={"momentum": 0.5, "lr": 0.1}, label="slow")
    assert (optimizer.kwargs, optimizer.label) == ({"momentum": 0.5, "lr": 0.1}, "slow")


@pytest.mark.parametrize(
    ("batch_range", "sizes"),
    [
        (BatchRange(start=16, stop=128), (16, 32, 64, 128)),
        (BatchRange(start=16, stop=127), (16, 32, 64)),
        (BatchRange(start=5, stop=5), (5,)),
        (BatchRange(start=1, stop=4, factor=1.2), (1, 2, 3, 4)),
    ],
)
def test_batch_range_gives_each_size_once_up_to_stop(batch_range: BatchRange, sizes: tuple[int, ...]) -> None:
    assert batch_range.sizes() == sizes
    assert config(batch_sizes=batch_range).list_batch_sizes() == sizes


@given(COUNTS, COUNTS, st.floats(min_value=1.01, max_value=10))
def test_batch_range_rises_within_bounds(start: int, more: int, factor: float) -> None:
    sizes = BatchRange(start=start, stop=start + more, factor=factor).sizes()
    assert sizes[0] == start
    assert sizes[-1] <= start + more
    assert all(a < b for a, b in pairwise(sizes))


def test_points_combine_optimizers_and_batch_sizes() -> None:
    points = config(optimizers=["sgd", "adam"], batch_sizes=[4, 8]).points()
    assert [(o.label if o else None, size) for o, size in points] == [
        ("sgd", 4),
        ("sgd", 8),
        ("adam", 4),
        ("adam", 8),
    ]


def test_points_of_inference_have_no_optimizer() -> None:
    assert config(mode="inference", optimizers=[], batch_sizes=[4, 8]).points() == ((None, 4), (None, 8))


@pytest.mark.parametrize("name", ["sum", "output"])
def test_loss_needs_target_only_if_it_compares(name: str) -> None:
    assert not config(loss=name).loss.needs_target
    assert config().loss.needs_target


@pytest.mark.parametrize("size", [0, -1, True, "16", 16.0, 2**41])
def test_batch_size_invalid_is_refused(size: Any) -> None:
    with pytest.raises(ValidationError):
        config(batch_sizes=[size])


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        ({"shape": [2], "range": [0, 10]}, "range is for integer tensors, and dtype is float32"),
        ({"shape": [2], "dtype": "int64", "range": [5, 5]}, r"range \[5, 5\] is empty"),
        ({"shape": [2], "dtype": "uint8", "range": [0, 257]}, r"range \[0, 257\] does not fit into uint8"),
        ({"shape": [2], "dtype": "int32", "range": [-(2**31) - 1, 0]}, "does not fit into int32"),
    ],
)
def test_tensor_range_outside_dtype_is_refused(tensor: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TensorConfig.model_validate(tensor)


def test_tensor_full_range_of_dtype_is_accepted() -> None:
    assert TensorConfig(shape=(2,), dtype="uint8", range=(0, 256)).range == (0, 256)


@pytest.mark.parametrize("key", ["timeout_seconds", "seed", "steps"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "3"])
def test_config_invalid_number_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        config(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout_seconds", 1e300),
        ("timeout_seconds", 10**400),
        ("timeout_seconds", 0.0),
        ("allocator", "a\0b"),
        ("allocator", "expandable_segments:True," * 15_000),
        ("allocator", "a\nb"),
        ("name", "x" * 201),
        ("gpu", "x" * 201),
        ("optimizers", [f"o{number}" for number in range(101)]),
    ],
)
def test_config_value_beyond_limit_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        config(**{key: value})


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config(), "steps", 5)  # noqa: B010 - a plain assignment is refused by the type checker too
