"""The README agrees with the code and the commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from memprof.cli.app import COMMANDS
from memprof.config.load import load
from memprof.errors import ExitCode
from memprof.gpus.phantom.torch_install import find_torch
from memprof.gpus.select import Device
from tests.cli.conftest import Memprof
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()


def block(language: str, number: int = 0) -> str:
    """The text of the README's `number`-th block in `language`."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[number]


def test_the_config_of_the_readme_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "readme.yaml"
    file.write_text(block("yaml"))
    assert load(file).config.name == "my_resnet"


def test_every_command_is_in_the_readme() -> None:
    for command in COMMANDS:
        assert f"`memprof {command}" in README, command


def test_every_exit_status_is_in_the_readme() -> None:
    section = README.split("## Exit status")[1].split("##")[0]
    for code in ExitCode:
        assert re.search(rf"(^|[\s·]){code.value} \w", section), code


def test_the_two_commands_install_with_the_same_constraints() -> None:
    commands = [block("bash", 0), block("bash", 1)]
    assert all("pip install -q -c constraints.txt" in command for command in commands)
    assert "memprof sweep configs/mnist_mlp.yaml" in commands[0]
    assert "pytest" in commands[1]


@pytest.fixture
def pinned_torch(phantom_device_h100: Device) -> None:
    """Skips where another PyTorch is installed than the one that the README's figures were made with."""
    assert phantom_device_h100.name == "h100-80gb"
    install, pinned = find_torch(), re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert install
    assert pinned
    if install.torch_version.split("+")[0] != pinned[1]:
        pytest.skip(f"the README's figures were made with torch {pinned[1]}, and this is {install.torch_version}")


@pytest.mark.usefixtures("pinned_torch")
@pytest.mark.parametrize(
    ("number", "command"),
    [
        (0, ("sweep", "configs/mnist_mlp.yaml")),
        (1, ("explain", "configs/resnet50.yaml", "--batch-size", "32")),
    ],
)
def test_what_the_readme_shows_is_what_the_command_prints(
    memprof: Memprof, tmp_path: Path, number: int, command: tuple[str, ...]
) -> None:
    ended = memprof(*command, "--gpu", "h100-80gb", "--output-dir", str(tmp_path))
    printed = [line.rstrip() for line in ended.stdout.splitlines()]
    for line in block("text", number).splitlines():
        assert line in printed
