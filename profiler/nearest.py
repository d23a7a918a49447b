"""The valid name nearest to a mistyped one, in the words in which every refusal offers it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` most like `word`, upper and lower case being the same, or ``None``."""
    folded = {name.casefold(): name for name in names}
    matches = difflib.get_close_matches(word.casefold(), folded)
    # Letters that changed places are the likelier slip: `adma` is adam, though difflib prefers adamax.
    matches.sort(key=lambda name: sorted(name) != sorted(word.casefold()))
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``; did you mean NAME?``, or nothing where no name is near."""
    name = nearest(word, names)
    return f"; did you mean {name}?" if name is not None else ""
