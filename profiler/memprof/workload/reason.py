"""Describe in one line why a call failed, for messages that quote torch or the user's code."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Return the error's type and the first line of its text, e.g. ``ValueError: width must be positive``."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
