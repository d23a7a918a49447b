"""The orders in which a driver may hand out addresses.

They matter where PyTorch's caching allocator breaks ties between free blocks of one size by address, as it did until a
version that `address_spread` names; requested bytes depend on nothing of the kind.
"""

from __future__ import annotations

from enum import StrEnum


class AddressPolicy(StrEnum):
    """Where the next segment goes. `arena.c` has the same names in the same order."""

    DRIVER = "driver"  # as a real driver was seen to do it, in chunks of 32 MiB: the default
    ASCENDING = "ascending"  # the lowest gap that is wide enough, as one published snapshot shows
    DESCENDING = "descending"  # the highest
    MIXED = "mixed"  # now the lowest and now the highest, without any pattern but each time alike
