"""From the allocator's history and a process' own notes to the name of every byte. Free of torch."""

from profiler.attribution.differences import find_differences
from profiler.attribution.explaining import Account, DeviceFigures, account_for
from profiler.attribution.holdings import names_module
from profiler.attribution.notes import Label, Mark, ModuleNote, Notes

__all__ = [
    "Account",
    "DeviceFigures",
    "Label",
    "Mark",
    "ModuleNote",
    "Notes",
    "account_for",
    "find_differences",
    "names_module",
]
