"""Let transformers build the attention masks of an ordinary batch, though fake tensors have no values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MODULE, _FUNCTION = "transformers.masking_utils", "find_packed_sequence_indices"


@contextmanager
def positions_in_order(unless: Callable[[], bool]) -> Iterator[None]:
    """Tell transformers that the positions in each sequence are 0, 1, 2 and so on, as it makes them itself.

    Without a cache and an `attention_mask`, it reads the positions to see whether several sequences are packed into
    one. It cannot read those of a fake tensor, and then builds a mask of batch x 1 x length x length, which also
    excludes flash attention. With positions of the user's own, which `unless` says, it goes on doing so.
    """
    module = sys.modules.get(_MODULE)
    find = getattr(module, _FUNCTION, None)
    if module is None or find is None:
        yield
        return

    def find_or_none(position_ids: Any) -> Any:
        return find(position_ids) if unless() else None

    setattr(module, _FUNCTION, find_or_none)
    try:
        yield
    finally:
        setattr(module, _FUNCTION, find)
