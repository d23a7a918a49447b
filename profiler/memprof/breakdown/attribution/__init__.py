"""Attribute every byte of the allocator's history to a category and a name, with the run's annotations; no torch."""

from memprof.breakdown.attribution.annotations import Annotations, Label, ModuleInfo, PhaseMarker
from memprof.breakdown.attribution.classify import names_module
from memprof.breakdown.attribution.explain import Attribution, DeviceFigures, attribute
from memprof.breakdown.differences import find_differences

__all__ = [
    "Annotations",
    "Attribution",
    "DeviceFigures",
    "Label",
    "ModuleInfo",
    "PhaseMarker",
    "attribute",
    "find_differences",
    "names_module",
]
