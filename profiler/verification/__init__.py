"""A card against its phantom: the same battery of training steps on both, and the difference in bytes."""

from profiler.verification.battery import Entry, battery
from profiler.verification.card import phantom_of
from profiler.verification.record import FIGURES, Figures, Row, Verification, file_name, load_verification, to_json
from profiler.verification.runs import verify

__all__ = [
    "FIGURES",
    "Entry",
    "Figures",
    "Row",
    "Verification",
    "battery",
    "file_name",
    "load_verification",
    "phantom_of",
    "to_json",
    "verify",
]
