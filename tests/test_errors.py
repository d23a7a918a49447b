import pytest

from memprof.errors import ConfigError, DeviceError, ExitCode, MemprofError, ResultError, WorkloadError

KINDS = {
    ConfigError: ExitCode.CONFIG,
    WorkloadError: ExitCode.WORKLOAD,
    DeviceError: ExitCode.DEVICE,
    ResultError: ExitCode.RESULT,
}


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    assert {kind: kind.exit_code for kind in MemprofError.__subclasses__()} == KINDS
    assert len(set(KINDS.values())) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_exits_as_success_or_as_a_defect(kind: type[MemprofError]) -> None:
    assert kind.exit_code not in (ExitCode.OK, ExitCode.DEFECT)


def test_exit_codes_are_what_a_shell_can_see() -> None:
    assert all(0 <= code <= 255 for code in ExitCode)
    assert ExitCode.INTERRUPTED == 128 + 2  # what shells give for SIGINT
