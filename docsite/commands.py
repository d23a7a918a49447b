"""The commands and their options, read from the typer application that also prints `--help`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

import typer

from docsite.markdown import code, table
from memprof.cli.app import app

_NOTE = re.compile(r"\s*\[(?P<required>required)?(?:default: (?P<default>[^\]]*))?\]$")
_OPTION_HEADINGS = ("option", "meaning", "default")


def commands() -> Mapping[str, Any]:
    """Return typer's command objects by name, in the order of `memprof --help`."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="memprof")
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def command_reference(name: str) -> str:
    """Return the usage line, the arguments, the options and the examples of one command as Markdown."""
    command = commands()[name]
    context = command.context_class(command, info_name=f"memprof {name}")
    usage = command.get_help(context).splitlines()[0].removeprefix("Usage: ")
    parts = [f"```text\n{usage}\n```"]
    arguments = [_argument(parameter, context) for parameter in command.params if _is(parameter, "argument")]
    options = [_option(parameter, context) for parameter in command.params if _is(parameter, "option")]
    if arguments:
        parts.append(table(("argument", "meaning"), arguments))
    if options:
        parts.append(table(_OPTION_HEADINGS, options))
    if command.epilog:
        parts.append(f"## Examples\n\n```bash\n{cleandoc(command.epilog)}\n```")
    return "\n\n".join(parts)


def command_list() -> str:
    """Return a table of all commands, each with the first sentence of its help."""
    rows = [(f"[`memprof {name}`]({name}.md)", _summary(command)) for name, command in commands().items()]
    return table(("command", "what it does"), rows)


def _summary(command: Any) -> str:
    return str(command.get_short_help_str(limit=1000))


def _is(parameter: Any, kind: str) -> bool:
    return bool(parameter.param_type_name == kind)


def _argument(parameter: Any, context: Any) -> tuple[str, str]:
    written, text = parameter.get_help_record(context)
    return code(written.split()[0]), _NOTE.sub("", text)


def _option(parameter: Any, context: Any) -> tuple[str, str, str]:
    written, text = parameter.get_help_record(context)
    note = _NOTE.search(text)
    default = "required" if note and note["required"] else code((note and note["default"]) or "")
    return code(written), _NOTE.sub("", text), default
