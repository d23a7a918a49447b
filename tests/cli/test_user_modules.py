"""A project whose own modules are called as memprof's are or were: both find their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from tests.cli.conftest import Memprof

# Names of modules that memprof has or had.
NAMES = ("profiler", "config", "report", "worker", "results", "records", "units", "cli", "measure", "gpus", "errors")
MODEL = """
import torch
{imports}

def build():
    assert {names} == {names!r}, "another module hides one of the project's own"
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
"""
TRAINING = """
import torch
{imports}
from memprof import track

assert {names} == {names!r}, "another module hides one of the project's own"
model = torch.nn.Linear(256, 256).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with track(model, optimizer) as tracked:
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.zeros(64, 256, device="cuda")).sum().backward()
        optimizer.step()
print(tracked.explain())
"""
CONFIG = """
model: model.py:build
input: {shape: [4]}
target: {shape: [], dtype: int64, range: [0, 2]}
optimizers: [sgd]
batch_sizes: [8]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a config, a model, a training script, and modules that each know the project's name for them."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"OWN = {name!r}\n")
    imports = "\n".join(f"from {name} import OWN as {name}" for name in NAMES)
    names = f"({', '.join(NAMES)})"
    for file, text in {"model.py": MODEL, "train.py": TRAINING}.items():
        (tmp_path / file).write_text(text.replace("{names!r}", repr(NAMES)).format(imports=imports, names=names))
    (tmp_path / "model.yaml").write_text(CONFIG)
    return tmp_path


@pytest.mark.usefixtures("phantom_device_h100")
def test_sweep_of_a_project_with_equal_names_works(memprof: Memprof, project: Path) -> None:
    done = memprof("sweep", "model.yaml", "--gpu", "t4", "--json", cwd=project)
    assert done.returncode == ExitCode.OK, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["status"], row["source"]) == ("ok", "emulated")


@pytest.mark.usefixtures("phantom_device_h100")
def test_run_and_track_in_a_project_with_equal_names_work(memprof: Memprof, project: Path) -> None:
    done = memprof("run", "--gpu", "t4", "--", sys.executable, "train.py", cwd=project)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "Linear · SGD · Tesla T4 (phantom) · emulated" in done.stdout
    assert "memprof: fits: " in done.stderr


def test_memprof_as_a_module_ignores_the_projects_modules(memprof: Memprof, project: Path) -> None:
    """`python -m` puts the folder at hand first on the path."""
    done = memprof("summary", "model.yaml", cwd=project, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "1: Linear" in done.stdout
