"""The command line: parse, call, print, exit. The only place that prints, and the only one that exits.

Each command's module is imported when the command is called, so that `memprof --help` answers at once.
"""

from __future__ import annotations

import os
import sys

from memprof.cli.signals import NOTHING_SAVED, Interrupted, Interruptions

TYPE_CHECKING = False  # as in typing, whose import would be most of the time until the command handles signals
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from memprof.errors import ExitCode, MemprofError


def main() -> NoReturn:
    """Run the command line and exit with the status that `memprof.errors.ExitCode` documents."""
    interruptions = Interruptions()
    interruptions.install()
    from memprof.cli.streams import describe_failure, guard_streams, stdout_error
    from memprof.errors import ExitCode

    guard_streams()
    if "_MEMPROF_COMPLETE" in os.environ:  # the shell asks for completions
        _prepare_completion()
    _import_command(sys.argv[1:])
    try:
        with interruptions.raising():
            status = _run(sys.argv[1:], interruptions)
    except (Interrupted, KeyboardInterrupt) as error:  # between the two statements and the `try` of `_run`
        status = _say_interrupted(error, interruptions)
    if (lost := describe_failure(stdout_error())) is not None:
        status = _say(lost, status or ExitCode.RESULT)
    sys.exit(status)


def _import_command(arguments: list[str]) -> None:
    """Import what the command needs while a signal still ends the process: pydantic drops exceptions of handlers."""
    from memprof.cli.app import COMMANDS, import_command

    if arguments and arguments[0] in COMMANDS:
        import_command(arguments[0])


def _prepare_completion() -> None:
    """Undo how bash splits words, and keep errors about the incomplete command off the terminal."""
    from memprof.cli.completion import join_words

    join_words(os.environ)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  until the process ends


def _run(arguments: list[str], interruptions: Interruptions | None = None) -> int:
    """Run one command; return its exit status after one line on stderr if it failed."""
    import typer

    from memprof.errors import ExitCode, MemprofError

    interruptions = interruptions or Interruptions()
    usage_error: Any = typer.BadParameter.__bases__[0]  # its home depends on typer's version
    try:
        from memprof.cli.app import app

        return int(app(arguments, prog_name="memprof", standalone_mode=False) or ExitCode.OK)
    except MemprofError as error:
        found = _completed(error)
        return _say(_with_notes(str(found), error), found.exit_code)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as error:
        return _say_interrupted(error, interruptions)
    except Exception as error:
        if interruptions.received is not None:  # pydantic turns an interruption into an error of its own
            return _say_interrupted(error, interruptions)
        if isinstance(error, usage_error):
            return _say(_usage(error), ExitCode.CONFIG)
        if os.environ.get("MEMPROF_TRACEBACK"):
            raise
        text = f"internal error: {type(error).__name__}: {error}; set MEMPROF_TRACEBACK=1 to see where"
        return _say(_with_notes(text, error), ExitCode.INTERNAL_ERROR)


def _completed(error: MemprofError) -> MemprofError:
    """Return the error, with a proposal if the config lacks what the model could tell."""
    from memprof.config.load import IncompleteConfigError

    if not isinstance(error, IncompleteConfigError):
        return error
    from memprof.worker.proposal import with_proposal

    return with_proposal(error)


def _usage(error: Any) -> str:
    """Return what is wrong with the command line, with the option's name, and where to look it up."""
    where = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
    return f"{error.format_message().rstrip('.')}{where}"


def _say_interrupted(error: BaseException, interruptions: Interruptions) -> int:
    text = _with_notes(interruptions.describe(), error)
    if not getattr(error, "__notes__", ()):
        text = f"{text}; {NOTHING_SAVED}"
    return _say(text, interruptions.exit_status)


def _with_notes(text: str, error: BaseException) -> str:
    """Return `text` and what was noted on the exception on its way: the results that were saved."""
    return "; ".join((text, *getattr(error, "__notes__", ())))


def _say(text: str, status: ExitCode | int) -> int:
    sys.stderr.write(f"memprof: {' '.join(text.split())}\n")
    return int(status)
