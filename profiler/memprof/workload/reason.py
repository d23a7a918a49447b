"""Why a call failed, in one line: for refusals that hand on what torch or the user's own code said."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Return the error's kind and the first line of its text, e.g. ``ValueError: width must be positive``."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
