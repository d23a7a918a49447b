"""Read one input as memprof does, and say what is wrong with the way in which that ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from memprof.errors import ExitCode, MemprofError
from tests.paths import ROOT
from tests.reliability.kinds import KINDS

CORPUS = ROOT / "tests" / "reliability" / "corpus"
LONGEST_LINE = 1_000  # characters; what is wrong in a long input is shown shortened
LIMIT_SECONDS = 1.0  # of processor time, on one core


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input of a kind; `name` finds it again."""

    kind: str
    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the reading of one input ended; `problem` is ``None`` if it was read, or refused as its kind is."""

    problem: str | None
    refused: bool
    seconds: float


def make(kind: str, seed: str, number: int) -> Case:
    """Return the input with this number; the same seed always makes the same input."""
    return Case(kind=kind, name=f"{seed}-{number}", data=KINDS[kind].make(Random(f"{seed} {kind} {number}")))


def known(kind: str) -> Iterator[Case]:
    """Yield the inputs that are always tried: those of the kind, and earlier findings in the corpus."""
    for number, data in enumerate(KINDS[kind].special):
        yield Case(kind=kind, name=f"special-{number}", data=data)
    for file in sorted((CORPUS / kind).glob("*")):
        yield Case(kind=kind, name=file.name, data=file.read_bytes())


def keep(case: Case) -> Path:
    """Write a finding into the corpus, and return its file."""
    file = CORPUS / case.kind / case.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(case.data)
    return file


def read(case: Case, folder: Path) -> Ended:
    """Read `case` in `folder`; right is that it is accepted, or refused as its kind is, in one line and in time."""
    began, problem, refused = time.process_time(), None, False
    try:
        KINDS[case.kind].read(case.data, folder)
    except MemprofError as error:
        problem, refused = _problem(error), True
    except Exception as error:  # noqa: BLE001  whatever escapes is the finding
        problem = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - began
    problem = problem or (f"took {seconds:.1f} s" if seconds > LIMIT_SECONDS else None)
    text = problem and f"{case.kind} {case.name}: {problem}"[:600]
    return Ended(problem=text, refused=refused, seconds=seconds)


def _problem(error: MemprofError) -> str | None:
    text = str(error)
    if not text or "\n" in text or len(text) > LONGEST_LINE:
        return f"a text of {len(text.splitlines())} lines, {len(text)} characters: {text}"
    return f"an internal error: {text}" if error.exit_code is ExitCode.INTERNAL_ERROR else None
