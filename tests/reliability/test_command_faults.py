"""Promise 2: a command whose disk fails ends in one line and leaves the user's older file, or a whole new one.

`make reliability` lets every call fail; here are a few of them.
"""

from __future__ import annotations

import errno

import pytest

from tests.reliability.faults.commands import FaultyCommands, rotating_faults
from tests.reliability.faults.injection import ERRORS, Extent, Fault
from tests.reliability.kills.sandbox import Sandbox


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("sweep", Fault(call=20, error=errno.ENOSPC, extent=Extent.FROM_THEN_ON)),
        ("explain --snapshot", Fault(call=8, error=errno.ENOSPC, extent=Extent.ONCE)),
        ("report", Fault(call=2, error=errno.EIO, extent=Extent.ONCE)),
    ],
)
def test_command_with_a_failing_disk_leaves_whole_files(
    name: str, fault: Fault, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    faulty = FaultyCommands(sandbox, tmp_path_factory.mktemp("library"))
    assert faulty.inject(name, fault) == []


def test_calls_of_a_command_are_counted(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    calls, problems = FaultyCommands(sandbox, tmp_path_factory.mktemp("library")).count("report")
    assert problems == []
    assert calls >= 4  # open, write, fsync, rename


def test_rotating_faults_have_every_error_and_extent() -> None:
    faults = list(rotating_faults(12))
    assert [fault.call for fault in faults] == list(range(1, 13))
    assert {(fault.error, fault.extent) for fault in faults} == {
        (error, extent) for error in ERRORS for extent in Extent
    }
