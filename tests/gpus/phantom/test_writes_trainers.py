"""Checkpoints of transformers, Lightning and Accelerate are kept apart, rotated and resumed; the extra is `hub`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memprof.gpus.phantom.build import PhantomLibraries
from tests.gpus.phantom.checkpoints import hashes, memprof_run, write_older

OLDER = (
    "best.ckpt", "last.ckpt",
    "checkpoint-1/model.safetensors", "checkpoint-1/trainer_state.json", "checkpoint-1/config.json",
    "checkpoints/checkpoint_0/model.safetensors", "checkpoints/checkpoint_0/random_states_0.pkl",
    "state/pytorch_model.bin", "state/optimizer.bin",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training loop printed last, and the files of its folder before and after."""

    printed: Mapping[str, Any]
    stderr: str
    before: Mapping[str, str]
    after: Mapping[str, str]


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}; pip install -e '.[hub]'")


def train(package: str, folder: Path, libraries: PhantomLibraries) -> Trained:
    assert libraries.files.is_file()
    write_older(folder / "out", OLDER)
    before = hashes(folder)
    finished = memprof_run(folder, "trainers.py", package, writes="discard")
    assert finished.returncode == 0, finished.stderr
    printed = json.loads(finished.stdout.splitlines()[-1])
    return Trained(printed=printed, stderr=finished.stderr, before=before, after=hashes(folder))


@needs("transformers", "accelerate")
def test_transformers_rotates_and_resumes_its_own(tmp_path: Path, phantom_libraries: PhantomLibraries) -> None:
    run = train("transformers", tmp_path, phantom_libraries)
    others = ["best.ckpt", "checkpoints", "last.ckpt", "state"]
    assert run.printed["after_first"] == sorted([*others, "checkpoint-4"])  # save_total_limit=1, so no checkpoint-1
    assert run.printed["after_second"] == sorted([*others, "checkpoint-6", "final"])
    assert (run.printed["steps"], run.printed["loaded"], run.printed["device"]) == (6, True, "Tesla T4")
    assert "memprof: 3 files of older checkpoints that the command deleted are still there\n" in run.stderr
    assert {**run.before, "out/final/config.json": run.after["out/final/config.json"]} == run.after


@needs("lightning")
def test_lightning_replaces_and_resumes_its_own(tmp_path: Path, phantom_libraries: PhantomLibraries) -> None:
    run = train("lightning", tmp_path, phantom_libraries)
    assert (run.printed["steps"], run.printed["loaded"], run.printed["link"]) == (8, [64, 64], True)
    assert run.printed["files"] == ["best.ckpt", "checkpoint-1", "checkpoints", "last.ckpt", "state"]
    assert run.after == run.before


@needs("accelerate")
def test_accelerate_rotates_and_loads_its_own(tmp_path: Path, phantom_libraries: PhantomLibraries) -> None:
    run = train("accelerate", tmp_path, phantom_libraries)
    assert run.printed["folders"] == ["checkpoint_2", "checkpoint_3"]
    assert run.printed["files"] == ["optimizer.bin", "pytorch_model.bin", "random_states_0.pkl"]
    assert run.printed["steps"] == 2  # a state for the weight and one for the bias
    assert run.after == run.before
