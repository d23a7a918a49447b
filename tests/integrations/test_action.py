"""The steps of the GitHub action, run here in a clone of a small project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import PACKAGE, ROOT

ACTION = ROOT / ".github" / "actions" / "memory-gate"
DESCRIBED: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a project whose branch main has the example's model and config."""
    origin = tmp_path / "origin"
    origin.mkdir()
    for name in ("memory.yaml", "model.py"):
        shutil.copy(ROOT / "examples" / "memory_gate" / name, origin / name)
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "first")
    git(tmp_path, "clone", "-q", str(origin), "clone")
    return tmp_path / "clone"


def measure(clone: Path, config: str = "memory.yaml") -> subprocess.CompletedProcess[str]:
    """Run the measuring step with the inputs' defaults."""
    inputs = {name: text.get("default") for name, text in DESCRIBED["inputs"].items()}
    values = {"github.base_ref": "main", "inputs.config": config, "github.action_path": str(ACTION)}
    values |= {f"inputs.{name}": str(default) for name, default in inputs.items() if default is not None}
    (step,) = [step for step in DESCRIBED["runs"]["steps"] if step.get("id") == "measure"]

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: values[found[1]], text)

    command = clone.parent / "bin" / "memprof"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m memprof "$@"\n')
    command.chmod(0o755)
    environment = {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PACKAGE.parent),
        "RUNNER_TEMP": str(clone.parent / "temp"),
        "GITHUB_STEP_SUMMARY": str(clone.parent / "summary.md"),
        **{name: filled(text) for name, text in step["env"].items()},
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", filled(step["run"])],
        env={**os.environ, **environment},
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("phantom_device_h100")
def test_action_fails_with_a_comment_if_memory_grew(clone: Path) -> None:
    model = clone / "model.py"
    model.write_text(model.read_text().replace("width: int = 512", "width: int = 1024"))
    finished = measure(clone)
    assert finished.returncode == 8, finished.stderr
    comment = (clone.parent / "temp" / "memprof" / "comment.md").read_text()
    assert comment.startswith("### GPU memory of `memory.yaml` on a simulated t4\n\n```text\n")
    assert "failed: 2 of 2 rows grew in peak by more than 2 %" in comment
    assert "Peak allocated" in comment
    assert (clone.parent / "summary.md").read_text() == comment
    listed = subprocess.run(["git", "worktree", "list"], cwd=clone, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.usefixtures("phantom_device_h100")
def test_action_passes_for_a_new_config(clone: Path) -> None:
    (clone / "new.yaml").write_text("model: mnist_mlp\noptimizers: [sgd]\nbatch_sizes: [16]\n")
    finished = measure(clone, "new.yaml")
    assert finished.returncode == 0, finished.stderr
    comment = (clone.parent / "temp" / "memprof" / "comment.md").read_text()
    assert "main has no new.yaml: there is nothing to compare with" in comment
