"""From the allocator's history and a process' own notes to the name of every byte. Free of torch."""

from memprof.breakdown.attribution.annotations import Annotations, Label, ModuleNote, PhaseMarker
from memprof.breakdown.attribution.classify import names_module
from memprof.breakdown.attribution.explain import Account, DeviceFigures, account_for
from memprof.breakdown.differences import find_differences

__all__ = [
    "Account",
    "Annotations",
    "DeviceFigures",
    "Label",
    "ModuleNote",
    "PhaseMarker",
    "account_for",
    "find_differences",
    "names_module",
]
