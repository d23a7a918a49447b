"""How the end of a process is put into words."""

from __future__ import annotations

import signal

from memprof.records import Status
from memprof.worker.exit_status import explain_exit


def test_a_signal_from_outside_kills_and_one_of_the_process_own_is_a_crash() -> None:
    assert explain_exit(-signal.SIGKILL)[0] is Status.KILLED
    assert explain_exit(-signal.SIGTERM) == (Status.KILLED, "killed by SIGTERM")
    assert explain_exit(-signal.SIGABRT) == (Status.ERROR, "crashed: SIGABRT")
    assert explain_exit(-250)[1].startswith("killed by signal 250")


def test_sigkill_hints_at_the_hosts_memory() -> None:
    assert "host memory" in explain_exit(-signal.SIGKILL)[1]


def test_an_exit_without_a_result_is_an_error_with_its_status() -> None:
    assert explain_exit(3) == (Status.ERROR, "the process exited with status 3 before it had a result")
