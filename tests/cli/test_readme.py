"""The README and the pages say what is so: commands, and the output that they print."""

from __future__ import annotations

import importlib.util
import re

import pytest

from docsite.commands import commands
from docsite.outputs import find_blocks, pages, run, without_times, workspace
from memprof.errors import ExitCode
from memprof.gpus.phantom.torch_install import find_torch
from memprof.gpus.select import Device
from tests.cli.conftest import Memprof
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()
MOST_LINES = 150
BLOCKS = [(page, block) for page in pages() for block in find_blocks(page.read_text())]
COMMANDS = tuple(dict.fromkeys(block.command for _, block in BLOCKS))


def block(language: str, number: int = 0) -> str:
    """The text of the README's `number`-th block in `language`."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found[number]


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("command", commands())
def test_readme_has_every_command(command: str) -> None:
    assert f"`memprof {command}`" in README


def test_help_has_every_exit_code(memprof: Memprof) -> None:
    shown = " ".join(memprof("--help").stdout.split())
    for code in ExitCode:
        assert f" {code.value} " in shown, code


def test_readme_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)|srcset=\"([^\"]+)\"", README)
    assert len(links) > 20
    for one in links:
        assert (ROOT / (one[0] or one[1])).is_file()


def test_readme_commands_install_with_the_same_constraints() -> None:
    installs = [block("bash", 0), block("bash", 1)]
    assert all("pip install -q -c constraints.txt" in command for command in installs)
    assert "memprof sweep configs/mnist_mlp.yaml" in installs[0]
    assert "pytest" in installs[1]


@pytest.fixture
def pinned_torch(phantom_device_h100: Device) -> None:
    """Skips where another PyTorch is installed than the one that the pages' figures were made with."""
    assert phantom_device_h100.name == "h100-80gb"
    install, pinned = find_torch(), re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert install
    assert pinned
    if install.torch_version.split("+")[0] != pinned[1]:
        pytest.skip(f"the figures were made with torch {pinned[1]}, and this is {install.torch_version}")


def test_readme_shows_the_largest_batch_and_a_sweep() -> None:
    shown = [block.command for block in find_blocks(README)]
    assert any(command.startswith("memprof max-batch ") for command in shown)
    assert any(command.startswith("memprof sweep ") for command in shown)


@pytest.mark.usefixtures("pinned_torch")
@pytest.mark.parametrize("command", COMMANDS)
def test_page_shows_what_the_command_prints(command: str) -> None:
    if "hugging_face" in command and importlib.util.find_spec("transformers") is None:
        pytest.skip("not installed: transformers; pip install -e '.[hub]'")
    with workspace() as folder:
        ended = run(command, folder)
    for page, shown in BLOCKS:
        if shown.command == command:
            assert without_times(shown.text) == without_times(shown.shown(ended)), page
