"""Promise 2: a result is there once and whole, or not at all, whichever call of its writer fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.errors import DeviceError
from tests.reliability.faults.storage_run import inject_into_storage


def test_storage_is_whole_or_absent_after_every_fault(tmp_path: Path) -> None:
    try:
        answer = inject_into_storage(tmp_path)
    except DeviceError as error:
        pytest.skip(str(error))
    assert answer["problems"] == []
    assert all(calls > 0 for calls in answer["calls"].values())
    assert sum(answer["cases"].values()) == 6 * sum(answer["calls"].values())  # three errors, once and from then on
