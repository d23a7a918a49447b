"""Values in the text of a tensor: PyTorch leaves all dispatch modes while it makes that text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any

import torch._tensor_str


def print_with(mode: AbstractContextManager[Any]) -> Callable[[], None]:
    """Let the text of tensors be made in `mode`; return a function that ends this."""
    original = torch._tensor_str._str_intern

    @wraps(original)
    def in_mode(*args: Any, **named: Any) -> Any:
        with mode:
            return original(*args, **named)  # type: ignore[no-untyped-call]

    torch._tensor_str._str_intern = in_mode
    return partial(setattr, torch._tensor_str, "_str_intern", original)
