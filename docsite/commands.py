"""The commands and their options, read from the typer application that also prints `--help`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import typer

from docsite.markdown import code, table
from memprof.cli.app import app

_NOTE = re.compile(r"\s*\[(?P<required>required)?(?:default: (?P<default>[^\]]*))?\]$")
_OPTION_HEADINGS = ("option", "meaning", "default")


def commands() -> Mapping[str, Any]:
    """Return typer's command objects by name, in the order of `memprof --help`."""
    found: Mapping[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009  a group has them
    return found


def command_reference(name: str) -> str:
    """Return the usage line, the arguments and the options of one command as Markdown."""
    command = commands()[name]
    context = command.context_class(command, info_name=f"memprof {name}")
    usage = context.get_usage().removeprefix("Usage: ")
    parts = [f"```text\n{usage}\n```"]
    arguments = [_row(parameter, context) for parameter in command.params if parameter.param_type_name == "argument"]
    options = [_row(parameter, context) for parameter in command.params if parameter.param_type_name == "option"]
    if arguments:
        parts.append(table(("argument", "meaning"), [(name, meaning) for name, meaning, _ in arguments]))
    if options:
        parts.append(table(_OPTION_HEADINGS, options))
    return "\n\n".join(parts)


def command_list() -> str:
    """Return a table of all commands, each with the first sentence of its help."""
    rows = [(f"[`memprof {name}`]({name}.md)", _summary(command)) for name, command in commands().items()]
    return table(("command", "what it does"), rows)


def _summary(command: Any) -> str:
    return str(command.get_short_help_str(limit=1000))


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    written, text = parameter.get_help_record(context)
    note = _NOTE.search(text)
    meaning = _NOTE.sub("", text)
    default = "required" if note and note["required"] else code((note and note["default"]) or "")
    return code(written), meaning, default
