"""What happens to an exception that is nobody's fault but memprof's."""

from __future__ import annotations

import pytest

from memprof.cli import gpus
from memprof.errors import ExitCode, WorkloadError
from tests.cli.conftest import Memprof, one_line


def raising(error: BaseException) -> object:
    def run(_json: bool) -> None:
        raise error

    return run


def test_unexpected_exception_is_an_internal_error(call: Memprof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "run", raising(RuntimeError("lost\nfor words")))
    line = one_line(call("gpus"), ExitCode.INTERNAL_ERROR)
    assert line == "memprof: internal error: RuntimeError: lost for words; set MEMPROF_TRACEBACK=1 to see where"
    monkeypatch.setenv("MEMPROF_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="lost"):
        call("gpus")


def test_error_with_a_note_names_what_was_saved(call: Memprof, monkeypatch: pytest.MonkeyPatch) -> None:
    error = WorkloadError("the worker cannot be started")
    error.add_note("2 of 8 points are saved in results/slow")
    monkeypatch.setattr(gpus, "run", raising(error))
    line = one_line(call("gpus"), ExitCode.WORKLOAD)
    assert line == "memprof: the worker cannot be started; 2 of 8 points are saved in results/slow"
