"""`--help`: fast, one line for each command, plain metavars, and examples that work."""

from __future__ import annotations

import pkgutil
import re
import shlex
import subprocess
import sys

import pytest
import typer

import memprof.report.terminal  # noqa: F401  for its path
from memprof import cli, report
from memprof.cli.app import COMMANDS, GROUPS, app, load_command
from memprof.cli.help_pages import argument_rows, option_rows
from memprof.errors import EXIT_MEANINGS, ExitCode
from tests.cli.conftest import Memprof

HEAVY = ("torch", "torchvision", "pandas", "pydantic", "matplotlib", "rich", "jinja2", "yaml")
NAMES = tuple(COMMANDS)


def test_help_names_each_command_whole_in_its_group(call: Memprof) -> None:
    shown = call("--help").stdout
    assert "…" not in shown.partition("\n")[2]
    for heading, commands in GROUPS.items():
        section = shown.split(f"\n{heading}:\n")[1].split("\n\n")[0]
        lines = [line.split(maxsplit=1) for line in section.splitlines()]
        assert lines == [[name, text] for name, text in commands.items()]


def test_help_lists_every_exit_status(call: Memprof) -> None:
    assert set(EXIT_MEANINGS) == set(ExitCode)
    section = call("--help").stdout.split("Exit status:\n")[1].split("\n\n")[0]
    assert [int(line.split()[0]) for line in section.splitlines()] == list(ExitCode)


@pytest.mark.parametrize("name", ["", *NAMES])
@pytest.mark.parametrize("columns", [80, 120])
def test_help_lines_fit_the_terminal(call: Memprof, name: str, columns: int) -> None:
    shown = call(*name.split(), "--help", COLUMNS=str(columns))
    assert (shown.returncode, shown.stderr) == (0, "")
    prose = shown.stdout.split("Examples:")[0]
    assert max(map(len, prose.splitlines())) <= columns - 2
    assert call(*name.split(), "-h", COLUMNS=str(columns)).stdout == shown.stdout


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_has_one_line_per_option(name: str) -> None:
    command = load_command(name)
    for rows in (argument_rows(command), option_rows(command, typer.Context(command, info_name=name))):
        first_column = max((len(left) for left, _ in rows), default=0)
        assert [left for left, meaning in rows if first_column + 4 + len(meaning) > 78] == []
        assert [left for left, _ in rows if not re.search(r"^-|^[A-Z]+…?$", left)] == []


@pytest.mark.parametrize("name", NAMES)
def test_help_examples_are_accepted(name: str) -> None:
    examples = load_command(name).epilog.splitlines()
    assert examples
    for example in examples:
        program, command, *arguments = shlex.split(example, comments=True)
        assert (program, command) == ("memprof", name)
        load_command(name).make_context(name, arguments[: arguments.index(">")] if ">" in arguments else arguments)


def test_commands_have_one_stem_everywhere() -> None:
    stems = {name.replace("-", "_") for name in COMMANDS}
    shared = {"advice", "columns", "fit_gpus", "header", "layout", "module_groups", "render", "spread"}
    terminal = {module.name for module in pkgutil.iter_modules(report.terminal.__path__)}
    assert terminal - stems == shared
    helpers = {
        "app",
        "completion",
        "console",
        "fit_gpus",
        "engine",
        "generic",
        "help_pages",
        "inferred",
        "mcp_tools",
        "model_options",
        "next_command",
        "options",
        "overriding",
        "require",
        "saving",
        "signals",
        "slow_precision",
        "streams",
    }
    assert {module.name for module in pkgutil.iter_modules(cli.__path__)} == stems | helpers


def test_help_of_the_group_knows_the_same_commands() -> None:
    group = typer.main.get_command(app)
    context = typer.Context(group)
    assert isinstance(group, typer.core.TyperGroup)
    assert group.list_commands(context) == list(COMMANDS)
    assert group.get_command(context, "swep") is None


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom memprof.cli import main\nsys.argv = ['memprof', '--help']\n"
        f"try: main()\nfinally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith("Usage: memprof [OPTIONS] COMMAND …")


def test_memprof_without_a_command_prints_the_help(call: Memprof) -> None:
    assert call().stdout == call("--help").stdout
    assert call("--version").stdout.startswith("memprof ")
