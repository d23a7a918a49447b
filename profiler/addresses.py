"""The orders in which a driver may hand out addresses: no two snapshots of real runs show quite the same one.

They matter where PyTorch's caching allocator breaks ties between free blocks of one size by address, as it did until a
version that `error_bar` names; requested bytes depend on nothing of the kind.
"""

from __future__ import annotations

from enum import StrEnum


class AddressPolicy(StrEnum):
    """Where the next segment goes. `arena.c` has the same names in the same order."""

    ASCENDING = "ascending"  # the lowest gap that is wide enough: the default, as one published snapshot shows
    DESCENDING = "descending"  # the highest
    APART = "apart"  # segments of up to 20 MiB upwards on steps of 32 MiB, larger ones downwards, as others show
    MIXED = "mixed"  # now the lowest and now the highest, without any pattern but each time alike
