"""Promise 1: any input gets one clear line and a documented exit status, within a second, and nothing is run.

`make fuzz` runs 10,000 cases with another seed, and writes each finding into the corpus.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.fuzzing import keep, known, make, read
from tests.reliability.kinds import KINDS

CASES = int(os.environ.get("MEMPROF_FUZZ_CASES", "2000"))
SEED = os.environ.get("MEMPROF_FUZZ_SEED", "1")
KEEP = "MEMPROF_FUZZ_KEEP" in os.environ
GROUPS = 10  # of cases a kind, so that the processes of pytest share them


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_input_is_read_or_refused_in_one_line(kind: str, group: int, tmp_path: Path) -> None:
    numbers = range(group, round(CASES * KINDS[kind].share), GROUPS)
    problems = []
    for case in (make(kind, SEED, number) for number in numbers):
        if (problem := read(case, tmp_path).problem) is not None:
            problems.append(f"{problem} (kept in {keep(case)})" if KEEP else problem)
    assert not problems, f"{len(problems)} of {len(numbers)}: " + "\n".join(problems[:10])


@pytest.mark.parametrize("kind", KINDS)
def test_earlier_finding_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    assert [problem for case in known(kind) if (problem := read(case, tmp_path).problem) is not None] == []


def test_shares_of_the_kinds_make_up_all_cases() -> None:
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)


def test_same_seed_makes_the_same_inputs() -> None:
    assert [make(kind, "7", 3) for kind in KINDS] == [make(kind, "7", 3) for kind in KINDS]
    assert all(make(kind, "7", 3).data != make(kind, "8", 4).data for kind in KINDS)
