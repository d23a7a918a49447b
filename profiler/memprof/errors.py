"""User-correctable errors: each kind has an exit status, each message is one line that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType

_LONGEST_NAME = 100  # a longer word is not a mistyped name, and comparing it takes long


class ExitCode(IntEnum):
    """The exit statuses of the commands; `EXIT_MEANINGS` explains each."""

    OK = 0
    INTERNAL_ERROR = 1
    CONFIG = 2
    WORKLOAD = 3
    DEVICE = 4
    RESULT = 5
    FAILED_ROWS = 6
    DOES_NOT_FIT = 7
    REGRESSION = 8
    INTERRUPTED = 130  # 128 + SIGINT, as shells count


EXIT_MEANINGS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.OK: "success; running out of memory is a result",
        ExitCode.INTERNAL_ERROR: "internal error: please report it",
        ExitCode.CONFIG: "the command line or the config is wrong",
        ExitCode.WORKLOAD: "the model, optimizer or batch cannot be built or run",
        ExitCode.DEVICE: "the GPU, real or simulated, is unavailable",
        ExitCode.RESULT: "results or output cannot be written or read",
        ExitCode.FAILED_ROWS: "some rows failed for another reason than memory",
        ExitCode.DOES_NOT_FIT: "nothing that was tried fits into the memory",
        ExitCode.REGRESSION: "a check found rows that grew or are missing",
        ExitCode.INTERRUPTED: "interrupted (128 + the number of the signal)",
    }
)


# What parsers raise for data of the wrong kind. One boundary function per kind of input (config, result, snapshot)
# turns them into that kind's `MemprofError`.
DATA_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, MemoryError)


class MemprofError(Exception):
    """A user-correctable error. Its text is one line: what is wrong, where, and what would be right."""

    exit_code = ExitCode.INTERNAL_ERROR


class ConfigError(MemprofError):
    """A config file, an override or an option is wrong."""

    exit_code = ExitCode.CONFIG


class WorkloadError(MemprofError):
    """The model, optimizer, loss or batch of the config cannot be built or run."""

    exit_code = ExitCode.WORKLOAD


class DeviceError(MemprofError):
    """The requested GPU, real or simulated, is unavailable on this machine."""

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
    """Return the one of `names` most like `word`, ignoring case, or ``None``."""
    if len(word) > _LONGEST_NAME:
        return None
    folded = {name.casefold(): name for name in names}
    matches = difflib.get_close_matches(word.casefold(), folded)
    # Letters that changed places are the likelier slip: `adma` is adam, though difflib prefers adamax.
    matches.sort(key=lambda name: sorted(name) != sorted(word.casefold()))
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``; did you mean NAME?``, or nothing if no name is similar."""
    name = nearest(word, names)
    return f"; did you mean {name}?" if name is not None else ""
