"""Where the processes of one run exchange what NCCL would send; `csrc/mailbox.c` writes the files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from memprof.errors import ConfigError
from memprof.gpus.phantom.ledger import ledger_folder

_FOLDER = "MEMPROF_PHANTOM_MAILBOXES"
_LIMIT = "MEMPROF_NCCL_TIMEOUT"  # `csrc/waiting.c` has the default


@contextmanager
def new_mailboxes() -> Iterator[Path]:
    """Yield an empty folder for the mailboxes of one run; it is removed at the end."""
    with tempfile.TemporaryDirectory(
        prefix=f"run-{os.getpid()}-", suffix=".mailboxes", dir=ledger_folder(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def mailboxes_environment(folder: Path) -> Mapping[str, str]:
    """Return the variables with which the processes of one run find each other.

    Raises:
        ConfigError: the user's time limit is not a number of seconds.
    """
    limit = os.environ.get(_LIMIT)
    if limit is not None and not _is_seconds(limit):
        raise ConfigError(f"{_LIMIT}={limit}: must be a number of seconds above 0, for example 600")
    return {_FOLDER: str(folder)}


def _is_seconds(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
