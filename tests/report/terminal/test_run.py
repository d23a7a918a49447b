"""The closing lines of `memprof run`: the verdict, the peaks of one or several processes, what is modelled."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from memprof.experiments.run import SimulatedRun, larger_gpus
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.counters import TorchCounters
from memprof.gpus.phantom.ledger import Ledger
from memprof.gpus.phantom.run import CommandRun, RunRequest
from memprof.records import Status
from memprof.report.documents import run_document
from memprof.report.terminal.render import to_text
from memprof.report.terminal.run import run_lines, runs_table
from memprof.report.verdicts import limit_verdict, run_verdict
from memprof.units import GIB, MIB

T4 = replace(find_gpu("t4"), context_bytes=300 * MIB, assumed=("context_bytes",), total_bytes=16 * GIB)
MODELLED = "modelled: 300.00 MiB (assumed) for the CUDA context of each process"


def counters(**changes: Any) -> TorchCounters:
    found = TorchCounters(
        gpu=0, pid=11, rank=None, peak_allocated_bytes=GIB, peak_reserved_bytes=2 * GIB, refusals=0, wanted_bytes=None
    )
    return replace(found, **changes)


def ledger(*peaks_bytes: int, unknown: int = 0) -> Ledger:
    peaks = (*peaks_bytes, *[0] * (16 - len(peaks_bytes)))
    return Ledger(
        gpu_name=T4.name,
        total_bytes=T4.total_bytes,
        devices=len(peaks_bytes),
        used_bytes=(0,) * 16,
        peak_bytes=peaks,
        unknown_workspaces=unknown,
        processes=(),
    )


def sample_run(*found: TorchCounters, peaks: tuple[int, ...] = (4 * GIB,), code: int = 0, **more: Any) -> SimulatedRun:
    asked = RunRequest(spec=T4, command=["python", "train.py"], devices=len(peaks) or 1)
    ended = CommandRun(returncode=code, ledger=ledger(*peaks, **more) if peaks else None, counters=found)
    return SimulatedRun(asked=asked, ended=ended)


REFUSED = sample_run(counters(refusals=1, wanted_bytes=20 * GIB), peaks=(15 * GIB,), code=1)


@pytest.mark.parametrize(
    ("run", "status", "verdict"),
    [
        (sample_run(counters()), Status.OK, "fits: 4.00 of 16.00 GiB (25 %) on t4 (phantom)"),
        (sample_run(peaks=(100 * MIB,)), Status.OK, "fits: 100.00 MiB of 16.00 GiB (< 1 %) on t4 (phantom)"),
        (sample_run(peaks=()), Status.OK, "no GPU memory was used on t4 (phantom)"),
        (
            sample_run(peaks=(GIB, 8 * GIB)),
            Status.OK,
            "fits: 8.00 of 16.00 GiB (50 %) on GPU 1 of 2 × t4 (phantom)",
        ),
        (
            REFUSED,
            Status.OOM,
            "does not fit: the command needs more than 20.29 GiB, t4 has 16.00 GiB (phantom)",
        ),
        (
            sample_run(counters(), code=1),
            Status.ERROR,
            "ended early (exit status 1): at least 4.00 of 16.00 GiB (25 %) on t4 (phantom)",
        ),
        (
            sample_run(counters(), code=-9),
            Status.KILLED,
            "ended early (signal 9): at least 4.00 of 16.00 GiB (25 %) on t4 (phantom)",
        ),
        (
            sample_run(counters(refusals=2, wanted_bytes=GIB)),
            Status.OK,
            "fits: 4.00 of 16.00 GiB (25 %) on t4 (phantom)",
        ),
    ],
    ids=["fits", "tiny", "no_gpu", "two_gpus", "oom", "error", "killed", "caught_oom"],
)
def test_run_verdict_says_whether_the_command_fits(run: SimulatedRun, status: Status, verdict: str) -> None:
    assert run.status is status
    assert run_verdict(run) == verdict


def test_run_lines_of_one_process_have_its_peaks() -> None:
    peaks = "peak allocated 1.00 GiB, reserved 2.00 GiB, device memory 4.00 GiB (emulated)"
    assert run_lines(sample_run(counters())) == [peaks, MODELLED]


def test_run_lines_out_of_memory_are_lower_bounds() -> None:
    peaks = "peak allocated > 1.00 GiB, reserved > 2.00 GiB, device memory > 15.00 GiB (emulated)"
    assert run_lines(REFUSED)[0] == peaks


def test_run_lines_without_gpu_memory_are_none() -> None:
    assert run_lines(sample_run(peaks=())) == []


def test_run_lines_of_several_processes_name_the_largest() -> None:
    ranks = (counters(rank=0), counters(pid=12, rank=1, peak_reserved_bytes=3 * GIB), counters(gpu=1, pid=13))
    assert run_lines(sample_run(*ranks, peaks=(5 * GIB, 2 * GIB, 0))) == [
        "GPU 0: device memory 5.00 GiB (emulated); 2 processes, the largest is rank 1: "
        "allocated 1.00 GiB, reserved 3.00 GiB",
        "GPU 1: device memory 2.00 GiB (emulated); process 13: allocated 1.00 GiB, reserved 2.00 GiB",
        "GPU 2: device memory 0 B (emulated)",
        MODELLED,
    ]


def test_run_lines_name_modelled_workspaces_and_refusals() -> None:
    run = sample_run(counters(refusals=2), unknown=3)
    assert run_lines(run)[1:] == [
        "2 requests for memory were refused, and the command went on",
        f"{MODELLED}; 3 cuDNN workspaces are modelled or unknown",
    ]


def test_limit_verdict_names_only_a_peak_above_the_limit() -> None:
    run = sample_run(counters())
    assert limit_verdict(run, 4 * GIB) is None
    assert limit_verdict(sample_run(peaks=()), 1) is None
    assert limit_verdict(run, 3 * GIB) == "above --max: device memory 4.00 GiB, limit 3.00 GiB"


def test_runs_table_has_a_row_for_each_gpu_and_no_truncated_need() -> None:
    table = to_text(runs_table([sample_run(counters()), REFUSED, sample_run(peaks=(), code=3)]), 80)
    assert table.splitlines()[0] == "fits on 1 of 3 GPUs: t4"
    rows = [line.split() for line in table.splitlines()[4:7]]
    assert rows == [
        ["t4", "16.00", "GiB", "4.00", "GiB*", "25", "%", "1.00", "GiB", "2.00", "GiB", "fits"],
        ["t4", "16.00", "GiB", ">", "20.29", "GiB*", ">", "1.00", "GiB", ">", "2.00", "GiB", "oom"],
        ["t4", "16.00", "GiB", "-", "-", "-", "exit", "status", "3"],
    ]
    assert max(map(len, table.splitlines())) <= 80


def test_run_document_has_all_figures_in_bytes() -> None:
    document = run_document([REFUSED])
    assert (document["source"], document["status"], document["exit_status"]) == ("emulated", "oom", 1)
    assert document["peak_device_bytes"] == 15 * GIB
    assert document["needed_bytes"] == 20 * GIB + 300 * MIB
    assert document["processes"][0]["wanted_bytes"] == 20 * GIB
    several = run_document([sample_run(counters()), sample_run(code=-9)])
    assert [gpu["signal"] for gpu in several["gpus"]] == [None, 9]


def test_larger_gpus_have_clearly_more_than_is_needed() -> None:
    found = [find_gpu(name).total_bytes for name in larger_gpus(find_gpu("t4"), 20 * GIB)]
    assert len(found) == 3
    assert found[0] > 1.1 * 20 * GIB
    assert all(after > 1.1 * before for before, after in pairwise(found))
    assert larger_gpus(find_gpu("gb300"), 20 * GIB) == []
