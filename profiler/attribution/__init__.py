"""From the allocator's history and a process' own notes to the name of every byte. Free of torch."""

from profiler.attribution.differences import find_differences
from profiler.attribution.explaining import DeviceFigures, explain
from profiler.attribution.notes import Label, Mark, ModuleNote, Notes

__all__ = ["DeviceFigures", "Label", "Mark", "ModuleNote", "Notes", "explain", "find_differences"]
