"""Kinds of errors and their exit statuses."""

from __future__ import annotations

import pytest

from memprof.errors import (
    EXIT_MEANINGS,
    ConfigError,
    DeviceError,
    ExitCode,
    MemprofError,
    ResultError,
    WorkloadError,
    did_you_mean,
    nearest,
)

KINDS = {
    ConfigError: ExitCode.CONFIG,
    WorkloadError: ExitCode.WORKLOAD,
    DeviceError: ExitCode.DEVICE,
    ResultError: ExitCode.RESULT,
}


def test_each_kind_of_error_has_its_own_exit_status() -> None:
    assert {kind: kind.exit_code for kind in MemprofError.__subclasses__()} == KINDS
    assert len(set(KINDS.values())) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_exits_as_success_or_internal_error(kind: type[MemprofError]) -> None:
    assert kind.exit_code not in (ExitCode.OK, ExitCode.INTERNAL_ERROR)


def test_exit_statuses_are_what_a_shell_can_see() -> None:
    assert all(0 <= code <= 255 for code in ExitCode)
    assert ExitCode.INTERRUPTED == 128 + 2  # what shells give for SIGINT


def test_each_exit_status_has_a_short_meaning() -> None:
    assert set(EXIT_MEANINGS) == set(ExitCode)
    assert max(map(len, EXIT_MEANINGS.values())) <= 60


@pytest.mark.parametrize(
    ("word", "names", "near"),
    [
        ("optimizer", ["optimizers", "steps"], "optimizers"),
        ("ADMAW", ["Adam", "AdamW", "SGD"], "AdamW"),
        ("adma", ["adam", "adamax", "adamw"], "adam"),
        ("frobnicate", ["steps", "seed"], None),
        ("anything", [], None),
    ],
)
def test_nearest_ignores_case_and_prefers_swapped_letters(word: str, names: list[str], near: str | None) -> None:
    assert nearest(word, names) == near


def test_did_you_mean_is_empty_if_no_name_is_near() -> None:
    assert did_you_mean("sed", ["seed"]) == "; did you mean seed?"
    assert did_you_mean("xyz", ["seed"]) == ""
