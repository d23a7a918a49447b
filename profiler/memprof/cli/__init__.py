"""The command line: parse, call, print, exit. The only place that prints and the only one that exits.

Each command imports what it needs when it is called, so that `memprof --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from memprof.errors import ExitCode, MemprofError


def main() -> None:
    """Run the command line and exit with the status that `memprof.errors.ExitCode` documents."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may know ASCII alone
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    import typer

    from memprof.cli.app import app

    usage_error: Any = typer.BadParameter.__bases__[0]  # its home depends on typer's version

    try:
        return int(app(arguments, prog_name="memprof", standalone_mode=False) or ExitCode.OK)
    except MemprofError as error:
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone, for instance `head`
        sys.stderr.close()
        return ExitCode.OK
    except Exception as error:
        if isinstance(error, usage_error):
            return _say(error.format_message(), ExitCode.CONFIG)  # with the option's name
        if os.environ.get("MEMPROF_TRACEBACK"):
            raise
        text = f"{type(error).__name__}: {error}; this is a defect of memprof, MEMPROF_TRACEBACK=1 shows where"
        return _say(text, ExitCode.DEFECT)


def _say(text: str, status: ExitCode) -> int:
    print("memprof:", " ".join(text.split()), file=sys.stderr)
    return status
