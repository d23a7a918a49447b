"""What can go wrong that a user can mend: each kind has an exit code, each message says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

_LONGEST_NAME = 100  # longer words are no slips of a name, and comparing them takes long


class ExitCode(IntEnum):
    """What the command's exit status means; `memprof --help` and the README list the same."""

    OK = 0  # an out-of-memory row is a result, not a failure
    DEFECT = 1  # an error of memprof's own
    CONFIG = 2  # the command line or the config file
    WORKLOAD = 3  # the model, optimizer or batch cannot be built or run
    DEVICE = 4  # the GPU asked for, real or phantom, cannot be had here
    RESULT = 5  # results cannot be written or read
    FAILED_ROWS = 6  # the sweep ended, with rows that crashed, hung or were killed
    DOES_NOT_FIT = 7  # nothing that was tried fits into the memory; the smallest footprint is said
    REGRESSION = 8  # `memprof check`: rows grew beyond the limit, or are missing
    INTERRUPTED = 130  # Ctrl-C; what was measured is kept and the next run goes on from there


# What parsers raise for data of the wrong kind. One boundary function per kind of input (config, result, snapshot)
# turns them into that kind's `MemprofError`.
DATA_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, MemoryError)


class MemprofError(Exception):
    """Something the user can mend. Its text is one line: what is wrong, where, what would be right."""

    exit_code = ExitCode.DEFECT


class ConfigError(MemprofError):
    """A config file, an override or an option is wrong."""

    exit_code = ExitCode.CONFIG


class WorkloadError(MemprofError):
    """The model, optimizer, loss or batch that the config describes cannot be built or run."""

    exit_code = ExitCode.WORKLOAD


class DeviceError(MemprofError):
    """The GPU that was asked for, real or phantom, cannot be had on this machine."""

    exit_code = ExitCode.DEVICE


class ResultError(MemprofError):
    """A result cannot be written, read or compared."""

    exit_code = ExitCode.RESULT


def one_line(text: str, longest: int = 300) -> str:
    """Return `text` as one printable line: white space as single spaces, other characters escaped, the end cut off."""
    line = " ".join(text[: 2 * longest].split())
    printable = line if line.isprintable() else "".join(map(_printable, line))
    return printable if len(printable) <= longest and len(text) <= 2 * longest else f"{printable[: longest - 3]}..."


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` most like `word`, upper and lower case being the same, or ``None``."""
    if len(word) > _LONGEST_NAME:
        return None
    folded = {name.casefold(): name for name in names}
    matches = difflib.get_close_matches(word.casefold(), folded)
    # Letters that changed places are the likelier slip: `adma` is adam, though difflib prefers adamax.
    matches.sort(key=lambda name: sorted(name) != sorted(word.casefold()))
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``; did you mean NAME?``, or nothing where no name is near."""
    name = nearest(word, names)
    return f"; did you mean {name}?" if name is not None else ""
