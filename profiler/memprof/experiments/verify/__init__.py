"""A real GPU compared with its phantom: the same training steps on both, and the difference in bytes."""

from memprof.experiments.verify.cases import Entry, verify_cases
from memprof.experiments.verify.device import phantom_of
from memprof.experiments.verify.record import (
    FIGURES,
    Figures,
    Row,
    Verification,
    file_name,
    load_verification,
    to_json,
)
from memprof.experiments.verify.run import verify

__all__ = [
    "FIGURES",
    "Entry",
    "Figures",
    "Row",
    "Verification",
    "file_name",
    "load_verification",
    "phantom_of",
    "to_json",
    "verify",
    "verify_cases",
]
