"""The next step of an answer: a command that memprof accepts, with the options that still matter."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from memprof.cli.app import load_command
from memprof.cli.next_command import after_compare, after_explain, after_max_batch, after_summary, after_sweep, follow
from memprof.records import RunRecord, Source, StopReason
from memprof.results import Kind, Result
from memprof.results.comparison import VariantResult
from tests.report.test_verdicts import ran, refused, sample_summary
from tests.samples import sample_config, sample_environment, sample_explained, sample_max_batch, sample_result

TYPED = "c.yaml --gpu t4 --set cudnn.benchmark=true --output-dir out"


def saved(*records: RunRecord, kind: Kind = Kind.SWEEP, command: str = f"sweep {TYPED}", **changes: Any) -> Result:
    return sample_result(*records, kind=kind, command=("memprof", *command.split()), **changes)


def check(command: str | None, expected: str) -> None:
    """Check the command, and that memprof accepts it."""
    assert command == expected
    _, name, *arguments = shlex.split(command)
    load_command(name).make_context(name, arguments)


def test_next_after_a_sweep_that_fits_is_max_batch() -> None:
    command = f"sweep {TYPED} --batch-size 8 --batch-size 16 --json --force"
    options = "--gpu t4 --set cudnn.benchmark=true --output-dir out"
    check(after_sweep(saved(ran(64, 10), command=command)), f"memprof max-batch c.yaml {options}")


def test_next_after_a_sweep_out_of_memory_is_fit_at_that_batch() -> None:
    following = after_sweep(saved(ran(64, 10), refused(512), refused(256)))
    check(following, "memprof fit c.yaml --batch-size 256 --gpu t4 --set cudnn.benchmark=true")


def test_next_after_a_sweep_without_a_gpu_is_doctor() -> None:
    environment = sample_environment(source=Source.ANALYTIC)
    check(after_sweep(saved(ran(64, 10), environment=environment)), "memprof doctor")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "memprof explain c.yaml --gpu t4 --batch-size 600"),
        ({"largest_batch_size": 0, "multiple_of": 8}, "memprof fit c.yaml --batch-size 8 --gpu t4"),
        ({"stopped_by": StopReason.MAX}, "memprof max-batch c.yaml --gpu t4"),
    ],
)
def test_next_after_max_batch_depends_on_the_answer(changes: dict[str, Any], expected: str) -> None:
    result = saved(kind=Kind.MAX_BATCH, command="max-batch c.yaml --gpu t4 --max 700")
    check(after_max_batch(result, [sample_max_batch(gpu="t4", **changes)]), expected)


def test_next_after_max_batch_on_several_gpus_names_the_best() -> None:
    result = saved(kind=Kind.MAX_BATCH, command="max-batch c.yaml --gpu t4 --gpu l4")
    answers = [sample_max_batch(gpu="t4", largest_batch_size=5), sample_max_batch(gpu="l4", largest_batch_size=9)]
    check(after_max_batch(result, answers), "memprof explain c.yaml --gpu l4 --batch-size 9")


def test_next_after_max_batch_names_the_gpu_of_a_memory_size() -> None:
    result = saved(kind=Kind.MAX_BATCH, command="max-batch c.yaml --memory 24GiB")
    check(
        after_max_batch(result, [sample_max_batch(gpu="24GiB")]), "memprof explain c.yaml --gpu 24GiB --batch-size 600"
    )


def test_next_after_a_sweep_of_several_optimizers_names_none() -> None:
    command = "sweep c.yaml --optimizer sgd,adam --batch-size 8,16 --gpu t4"
    check(after_sweep(saved(ran(64, 10), command=command)), "memprof max-batch c.yaml --gpu t4")


def test_next_after_explain_is_fit_or_max_batch() -> None:
    result = saved(kind=Kind.EXPLAIN, command="explain c.yaml --gpu t4 --batch-size 64 --depth 3")
    check(after_explain(result, sample_explained()), "memprof max-batch c.yaml --gpu t4")
    over = replace(sample_explained(), record=refused(64))
    check(after_explain(result, over), "memprof fit c.yaml --batch-size 64 --gpu t4")


def test_next_after_compare_explains_the_smallest_variant() -> None:
    command = "compare c.yaml --gpu t4 --vary precision=fp32,bf16 --vary seed=1,2"
    base = VariantResult(
        group="", name="", settings={"precision": "fp32", "seed": "1"}, config=sample_config(), record=ran(64, 40)
    )
    smaller = replace(base, settings={"precision": "bf16", "seed": "1"}, record=ran(64, 30))
    result = saved(kind=Kind.COMPARE, command=command)
    check(after_compare(result, [base, smaller]), "memprof explain c.yaml --gpu t4 --set precision=bf16")
    assert after_compare(result, [replace(base, record=refused(64))]) is None


def test_next_after_a_summary_explains_the_same_batch() -> None:
    summary = sample_summary(batch_size=8)
    check(
        after_summary(("memprof", "summary", "c.yaml", "--depth", "2"), summary),
        "memprof explain c.yaml --batch-size 8",
    )


def test_next_keeps_the_options_of_a_model_without_a_file() -> None:
    command = ("memprof", "sweep", "net.py:build", "--input", "x=3x64x64", "--input", "y=5", "--classes", "10")
    following = "memprof max-batch net.py:build --input x=3x64x64 --input y=5 --classes 10"
    check(follow(command, "max-batch", {}), following)


@pytest.mark.parametrize("command", [(), ("memprof",), ("pytest", "tests"), ("memprof", "--version")])
def test_next_of_another_program_is_nothing(command: tuple[str, ...]) -> None:
    assert follow(command, "sweep", {}) is None


def test_next_of_a_damaged_command_is_still_a_command() -> None:
    assert follow(("memprof", "sweep", "--batch-size"), "max-batch", {}) == "memprof max-batch"
