"""`memprof init`: a config to begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.errors import ExitCode
from tests.cli.conftest import Memprof, one_line


def test_init_prints_a_config_that_commands_take(call: Memprof, tmp_path: Path) -> None:
    ended = call("init", "mnist_mlp", "--optimizer", "adamw", "--batch-size", "4,8", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    (tmp_path / "my.yaml").write_text(ended.stdout)
    given = ("--optimizer", "adamw", "--batch-size", "4")
    assert call("summary", "my.yaml", cwd=tmp_path).stdout == call("summary", "mnist_mlp", *given, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet50",), "resnet50: no such file; for a model, write for example torchvision:resnet50"),
        (("mnist_mpl",), "no such file"),
        (("my.yaml",), "my.yaml: is a config file already; name a model, for example torchvision:resnet50"),
        (("mnist_mlp", "--set", "precison=bf16"), "--set precison=bf16: unknown key; did you mean precision?"),
    ],
)
def test_init_refuses_in_one_line(call: Memprof, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "my.yaml").write_text("model: mnist_mlp")
    assert message in one_line(call("init", *arguments, cwd=tmp_path), ExitCode.CONFIG)
