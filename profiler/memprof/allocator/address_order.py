"""The orders in which a driver may hand out addresses.

They matter if PyTorch's caching allocator breaks ties between free blocks of one size by address, as it does before
version 2.12. Requested bytes do not depend on them.
"""

from __future__ import annotations

from enum import StrEnum


class AddressPolicy(StrEnum):
    """The address of the next segment. `arena.c` has the same names in the same order."""

    DRIVER = "driver"  # as one real driver does it, in chunks of 32 MiB: the default
    ASCENDING = "ascending"  # the lowest gap that is wide enough, as one published snapshot shows
    DESCENDING = "descending"  # the highest
    MIXED = "mixed"  # the lowest or the highest, at random with a fixed seed
