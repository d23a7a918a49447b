"""The application: its commands in groups, each loaded when it is called from the module of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from memprof.cli.help_pages import (
    CommandPage,
    option_rows,
    write_lines,
    write_paragraph,
    write_rows,
    write_usage,
)
from memprof.cli.options import Version
from memprof.errors import EXIT_MEANINGS, ConfigError, did_you_mean

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Measure": {
        "sweep": "Measure peak memory for each optimizer and batch size.",
        "explain": "Show what the peak memory of one training run consists of.",
        "summary": "Show shapes, parameters and estimated bytes of each module.",
        "run": "Run any command on a simulated GPU and print its peak memory.",
    },
    "Search and compare": {
        "max-batch": "Find the largest batch size that trains, and verify it.",
        "fit": "Find settings that make a batch fit into a memory limit.",
        "compare": "Compare settings and show how each changes memory.",
        "campaign": "Measure models × GPUs × settings of one file.",
    },
    "Saved results": {
        "show": "Print a saved result again.",
        "plot": "Draw a saved result as PNG or SVG, or in the terminal.",
        "report": "Write one HTML or Markdown page about a config's results.",
        "diff": "Compare two saved results row by row.",
        "export": "Write rows for other tools: CSV, Parquet, W&B, MLflow.",
        "check": "Exit with status 8 if peaks grew over a baseline (for CI).",
    },
    "GPUs and setup": {
        "gpus": "List the GPUs of this machine and those that can be simulated.",
        "monitor": "Watch the memory of GPUs in use, real and simulated.",
        "doctor": "Check the installation and suggest fixes.",
        "calibrate": "Measure how much memory CUDA itself uses on your GPU.",
        "verify": "Compare your GPU with its simulation, to the byte.",
        "serve": "Keep PyTorch imported, so that later commands start sooner.",
        "mcp": "Answer coding assistants (Model Context Protocol).",
        "init": "Print a complete config for a model, with comments.",
        "schema": "Print the JSON Schema of config files.",
    },
}
COMMANDS: Mapping[str, str] = dict(chain.from_iterable(group.items() for group in GROUPS.values()))
_ABOUT = (
    "Find out how much GPU memory a PyTorch model needs for training, why, and how large the batch can be. "
    "Without a GPU, memprof simulates one (a phantom GPU): allocations are tracked, kernels do not run."
)
_EXAMPLES = """\
memprof max-batch torchvision:resnet50 --gpu t4
memprof explain net.py:build --input 3x64x64 --classes 10
memprof run --gpu t4 -- python train.py"""


class CommandIndex(TyperGroup):
    """The commands of `GROUPS`; the module of one is imported when that command is called."""

    _names_alone = False  # for the shell's completion

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  click's signature
        """Return the command of that name, or ``None``."""
        if self._names_alone:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return the names that begin with `incomplete`, without importing the commands."""
        self._names_alone = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._names_alone = False

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that `args` begin with; a misspelled one is refused with the nearest name."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise ConfigError(f"no such command {args[0]!r}{did_you_mean(args[0], COMMANDS)} (see memprof --help)")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the commands by group, the options, the exit statuses and examples."""
        write_usage(ctx, formatter, "COMMAND", "…")
        write_paragraph(formatter, _ABOUT)
        width = max(map(len, COMMANDS))
        for heading, commands in GROUPS.items():
            write_rows(formatter, heading, list(commands.items()), width)
        write_rows(formatter, "Options", option_rows(self, ctx))
        write_rows(formatter, "Exit status", [(str(code.value), text) for code, text in EXIT_MEANINGS.items()])
        write_lines(formatter, "Examples", _EXAMPLES)
        write_paragraph(formatter, "`memprof COMMAND --help` shows the options of a command.")


def import_command(name: str) -> ModuleType:
    """Return the module of a command."""
    return import_module(f"memprof.cli.{name.replace('-', '_')}")


def load_command(name: str) -> Any:
    """Import the module of a command and return the command: its function `command` and its `EXAMPLES`."""
    module = import_command(name)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = getattr(module, "CONTEXT_SETTINGS", None)
    declare = alone.command(
        name, cls=CommandPage, help=COMMANDS[name], epilog=module.EXAMPLES, context_settings=settings
    )
    declare(module.command)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="memprof",
    cls=CommandIndex,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def root(context: typer.Context, version: Version = False) -> None:
    """Print the version or the help if no command is named."""
    if version:
        from memprof._version import __version__

        typer.echo(f"memprof {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
