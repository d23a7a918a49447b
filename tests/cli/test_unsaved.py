"""An answer that cannot be saved is printed all the same, before the line that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from memprof.errors import ExitCode

MODEL = """
import pathlib, shutil
from torch import nn

def build():
    results = pathlib.Path("results")
    if results.is_dir():  # after the command has checked that it can be written
        shutil.rmtree(results)
    results.touch()
    return nn.Linear(4, 2)
"""
COMMANDS = {
    "max-batch": ("--memory", "64MiB", "--multiple-of", "4096"),
    "explain": ("--batch-size", "8", "--no-advice"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("as_json", [False, True])
def test_answer_is_printed_if_the_results_cannot_be_saved(
    memprof: Callable[..., CompletedProcess[str]], tmp_path: Path, command: str, as_json: bool
) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    model = ("net.py:build", "--input", "4", "--classes", "2", "--gpu", "t4")
    done = memprof(command, *model, *COMMANDS[command], *(["--json"] if as_json else []), cwd=tmp_path)
    assert done.returncode == ExitCode.RESULT, done.stderr
    assert done.stderr.splitlines()[-1].startswith("memprof: ")
    assert "results" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    if as_json:
        assert json.loads(done.stdout)["trials" if command == "max-batch" else "blocks"]
    else:
        assert done.stdout.splitlines()[0].startswith("fits")
        assert "saved in" not in done.stdout
