"""The status and reason for each way in which a process can end."""

from __future__ import annotations

import signal

from memprof.records import Status
from memprof.worker.exit_status import explain_exit


def test_signal_that_the_process_caused_is_a_crash() -> None:
    assert explain_exit(-signal.SIGKILL)[0] is Status.KILLED
    assert explain_exit(-signal.SIGTERM) == (Status.KILLED, "killed by SIGTERM")
    assert explain_exit(-signal.SIGABRT) == (Status.ERROR, "crashed: SIGABRT")
    assert explain_exit(-250)[1].startswith("killed by signal 250")


def test_sigkill_has_a_hint_about_host_memory() -> None:
    assert "host memory" in explain_exit(-signal.SIGKILL)[1]


def test_exit_without_a_result_is_an_error_with_its_status() -> None:
    assert explain_exit(3) == (Status.ERROR, "the process exited with status 3 before it had a result")
