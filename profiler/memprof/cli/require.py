"""`--require measured` or `--require emulated`: a command refuses to answer from another source."""

from __future__ import annotations

from memprof.errors import ConfigError, ResultError
from memprof.records import Source
from memprof.results import Result

_CHOICES = (Source.MEASURED, Source.EMULATED)


def required_source(text: str | None) -> Source | None:
    """Return the source that the option names; ``None`` if it was not given.

    Raises:
        ConfigError: it names another word.
    """
    if text is None:
        return None
    if text not in list(_CHOICES):
        raise ConfigError(f"--require {text}: choose one of {', '.join(_CHOICES)}")
    return Source(text)


def check_source(saved: Result, required: Source | None) -> None:
    """Check that a saved result has the required source.

    Raises:
        ResultError: it has another one.
    """
    found = saved.manifest.environment.source
    if required is not None and found is not required:
        raise ResultError(
            f"--require {required.value}: {saved.path} is {found.value}; run its command again on such a GPU"
        )
