"""The section `parallel` of a config, and the options that set its mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.parallel import ParallelConfig
from memprof.errors import ConfigError

CONFIG = "model: mnist_mlp\n"


def loaded(tmp_path: Path, text: str = "", **options: str) -> ParallelConfig:
    path = tmp_path / "x.yaml"
    path.write_text(CONFIG + text)
    flags = {"parallel": Flag.PARALLEL, "world": Flag.WORLD_SIZE, "change": Flag.SET}
    config = load(path, [Override(flag=flags[name], text=value) for name, value in options.items()]).config
    assert config.parallel is not None
    return config.parallel


@pytest.mark.parametrize(
    ("text", "world", "label"),
    [
        ("parallel: {mesh: 8}", 8, "rank 0 of 8: shard 8"),
        ("parallel: {mesh: {replicate: 2, shard: 4, tensor: 2}, ranks: 5}", 16, "rank 5 of 16: replicate 2 × shard 4"),
        ("parallel: {}", 1, "rank 0 of 1: 1 rank"),
    ],
)
def test_mesh_names_its_ranks(tmp_path: Path, text: str, world: int, label: str) -> None:
    parallel = loaded(tmp_path, text)
    assert parallel.mesh.world_size == world
    assert parallel.label.startswith(label)


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("{mesh: {shard: 8, tensor: 2}}", (0,)),
        ("{mesh: {pipeline: 2}}", (0, 1)),
        ("{mesh: {pipeline: 4, shard: 2}}", (0, 2, 4, 6)),
        ("{mesh: {pipeline: 16}}", (0, 1, 8, 15)),
        ("{mesh: {replicate: 4}, ddp: {zero: true}}", (0, 1, 2, 3)),
        ("{mesh: {replicate: 64}, ddp: {zero: true}}", tuple(range(8))),
        ("{mesh: {pipeline: 16}, ranks: [3, 5]}", (3, 5)),
    ],
)
def test_auto_ranks_are_those_that_differ(tmp_path: Path, text: str, ranks: tuple[int, ...]) -> None:
    assert loaded(tmp_path, f"parallel: {text}").chosen_ranks == ranks


def test_parallel_of_one_gpu_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG)
    assert load(tmp_path / "x.yaml").config.parallel is None


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("", True),
        ("parallel: {mesh: 8}", True),
        ("parallel: {mesh: {pipeline: 2}}", False),
        ("parallel: {mesh: {context: 2}}", False),
        ("mode: inference", False),
    ],
)
def test_evaluation_is_possible_where_a_config_may_have_one(tmp_path: Path, text: str, possible: bool) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(CONFIG + text)
    assert load(path).config.can_evaluate is possible
    path.write_text(f"{CONFIG}{text}\nevaluation: {{batch_size: 8}}\n")
    if possible:
        assert load(path).config.can_evaluate
    else:
        with pytest.raises(ConfigError, match="evaluation"):
            load(path)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"world": "64"}, {"shard": 64}),
        ({"parallel": "shard=8,tensor=8"}, {"shard": 8, "tensor": 8}),
        ({"parallel": "tensor=8", "world": "64"}, {"shard": 8, "tensor": 8}),
        ({"parallel": "replicate=8"}, {"replicate": 8}),
    ],
)
def test_options_set_the_mesh(tmp_path: Path, options: dict[str, Any], sizes: dict[str, int]) -> None:
    assert loaded(tmp_path, "parallel: {mesh: {shard: 2}, fsdp: {wrap: root}}", **options).mesh.sizes == {
        name: sizes.get(name, 1) for name in ("pipeline", "replicate", "shard", "expert", "context", "tensor")
    }


def test_option_keeps_the_rest_of_the_section(tmp_path: Path) -> None:
    assert loaded(tmp_path, "parallel: {fsdp: {wrap: root}}", world="4").fsdp.wrap == "root"


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("", {"parallel": "shard"}, "--parallel shard: 'shard' is not NAME=COUNT; write for example shard=8"),
        ("", {"parallel": "shrd=8"}, "--parallel shrd=8: there is no dimension 'shrd'; did you mean shard?"),
        ("", {"parallel": "shard=2,shard=4"}, "--parallel shard=2,shard=4: shard is there twice"),
        ("", {"world": "x"}, "--world-size x: 'x' is not a whole number"),
        ("", {"parallel": "tensor=8", "world": "60"}, "--world-size 60: not a multiple of the 8 ranks of tensor 8"),
        ("parallel: {mesh: {shard: 8}, ranks: [0, 8]}", {}, "ranks: 8 is not one of the 8 ranks of the mesh, 0 to 7"),
        ("parallel: {mesh: {shard: 8}, ranks: [1, 1]}", {}, "ranks: a rank is listed twice"),
        ("parallel: {mesh: {shard: 0}}", {}, "x.yaml:2: parallel.mesh.shard: 0 is too small; the minimum is 1"),
        ("parallel: {mesh: {replicate: 2, tensor: 2}}", {}, "replicate and tensor need shard above 1 too"),
        ("parallel: {mesh: {tensor: 2}, fsdp: {offload: true}}", {}, "fsdp.offload is FSDP2's; set mesh.shard above 1"),
        ("parallel: {mesh: 8, ddp: {zero: true}}", {}, "ddp.zero shares the optimizer state of DDP"),
        ("parallel: {mesh: 8}\ncompile: true", {}, "compile is not supported with several ranks; set compile: false"),
        ("parallel: {mesh: {pipeline: 2, context: 2}}", {}, "pipeline and context cannot be combined yet"),
        (
            "parallel: {mesh: {context: 2}}\nmode: inference",
            {},
            "mode: inference is not supported with context above 1",
        ),
        (
            "parallel: {mesh: {shard: 2, tensor: 2}, fsdp: {version: 1}}",
            {},
            "fsdp.version: 1 is not supported with tensor; leave it out for FSDP2",
        ),
        ("parallel: {mesh: {expert: 4}}", {}, "x.yaml:2: parallel.mesh.expert: needs routing; write routing: balanced"),
        ("parallel: {mesh: {expert: 2, tensor: 2}}\nrouting: balanced", {}, "expert and tensor cannot be combined yet"),
        ("parallel: {mesh: {experts: 4}}", {}, "parallel.mesh.experts: unknown key; did you mean expert?"),
        (
            "parallel: {mesh: {pipeline: 2}, pipeline: {schedule: GPipe, stages_per_rank: 2}}",
            {},
            "stages_per_rank: GPipe has 1 on each rank; leave it out, or write Interleaved1F1B",
        ),
        (
            "parallel: {mesh: {pipeline: 2}}\nmode: inference",
            {},
            "x.yaml:2: parallel.mesh.pipeline: with a pipeline, mode is not supported; write train",
        ),
    ],
)
def test_parallel_problem_is_one_line(tmp_path: Path, text: str, options: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, **options)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
