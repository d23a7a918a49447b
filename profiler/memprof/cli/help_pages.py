"""How `--help` looks: commands in groups, one line each; plain metavars; exit statuses and examples at the end.

Typer's own page cuts the line of a command at "…", writes types (``<list[str]>``) instead of metavars, and has no
examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperCommand

Rows = Sequence[tuple[str, str]]
_REPEATABLE = "…"
_OTHERS = "Options"
# In place of what typer says of its own options.
_MEANINGS = {
    "--help": "Show this help.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Print the completion script of the current shell.",
}


class CommandPage(TyperCommand):
    """A command whose help has usage, arguments, options in groups and the examples of its epilog."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        arguments = argument_rows(self)
        write_usage(ctx, formatter, *(name for name, _ in arguments))
        write_paragraph(formatter, self.help)
        write_rows(formatter, "Arguments", arguments)
        for heading, rows in option_groups(self, ctx).items():
            write_rows(formatter, heading, rows)
        write_lines(formatter, "Examples", self.epilog)


def argument_rows(command: Any) -> Rows:
    """Return the arguments of a command, each with its meaning."""
    return [(_metavar(item), item.help or "") for item in command.params if item.param_type_name == "argument"]


def option_rows(command: Any, ctx: Any) -> Rows:
    """Return the options of a command, each with its meaning and its default."""
    return [(_option(item), _meaning(item, ctx)) for item in _options(command, ctx)]


def _options(command: Any, ctx: Any) -> Sequence[Any]:
    return [item for item in command.get_params(ctx) if item.param_type_name == "option" and not item.hidden]


def option_groups(command: Any, ctx: Any) -> Mapping[str, Rows]:
    """Return the rows of the options under the heading that each names; those without one come last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for item, row in zip(_options(command, ctx), option_rows(command, ctx), strict=True):
        groups.setdefault(getattr(item, "rich_help_panel", None) or _OTHERS, []).append(row)
    return {heading: groups[heading] for heading in sorted(groups, key=lambda heading: heading == _OTHERS)}


def write_usage(ctx: Any, formatter: Any, *arguments: str) -> None:
    """Write the usage line: options first, then the arguments."""
    formatter.write_usage(ctx.command_path, " ".join(("[OPTIONS]", *arguments)))


def write_paragraph(formatter: Any, text: str | None) -> None:
    """Write a paragraph, wrapped to the width."""
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text or "")


def write_rows(formatter: Any, heading: str, rows: Rows, width: int = 0) -> None:
    """Write names (in at least `width` cells) and meanings under a heading; nothing if there are none."""
    if rows:
        with formatter.section(heading):
            formatter.write_dl([(name.ljust(width), meaning) for name, meaning in rows])


def write_lines(formatter: Any, heading: str, lines: str | None) -> None:
    """Write lines as they are, under a heading: commands to copy must not be wrapped."""
    if lines:
        with formatter.section(heading):
            for line in lines.splitlines():
                formatter.write(f"  {line}\n")


def _metavar(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return f"{name}{_REPEATABLE}" if parameter.nargs == -1 or getattr(parameter, "multiple", False) else name


def _option(option: Any) -> str:
    names = ", ".join(sorted((*option.opts, *option.secondary_opts), key=len))
    return names if option.is_flag else f"{names} {_metavar(option)}"


def _meaning(option: Any, ctx: Any) -> str:
    if known := [meaning for name, meaning in _MEANINGS.items() if name in option.opts]:
        return known[0]
    if option.required:
        return f"{option.help}  [required]"
    default = option.get_default(ctx)
    shown = default is not None and not isinstance(default, bool | list | tuple)
    return f"{option.help}  [default: {default}]" if shown else str(option.help)
