"""The fidelity page: its arithmetic on invented runs, the published files, and its text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fidelity.__main__ import LATEST, read, records
from benchmarks.fidelity.arithmetic import Prediction, error, predicted, score
from benchmarks.fidelity.collect import Collected, PhantomRun, StackResult
from benchmarks.fidelity.limits import Limited, LimitedRuns, read_found
from benchmarks.fidelity.page import limits, page, predictions_by_tool
from benchmarks.fidelity.real_gpus import ModelPeaks, Peaks, families, read_models
from benchmarks.fidelity.stacks import Stack, open_process
from benchmarks.fidelity.tables import table
from benchmarks.fidelity.truth import (
    FOLDER,
    TOOLS,
    LimitedRun,
    Run,
    read_attention,
    read_convolutions,
    read_limited,
    read_runs,
)
from memprof.errors import ResultError
from memprof.experiments.verify import to_json
from memprof.gpus.catalog import find_gpu
from memprof.records import Source
from tests.samples import sample_environment, sample_verification

GIB = 1 << 30


def run(taken_gib: float, *, oom: bool = False) -> Run:
    return Run(
        gpu="RTX 3060",
        model="VGG16",
        optimizer="Adam",
        batch_size=8,
        oom=oom,
        taken_bytes=int(taken_gib * GIB),
        gpu_total_bytes=12 * GIB,
        predictions=(2 * GIB, 4 * GIB, 13 * GIB),
    )


RUNS = (run(4), run(2), run(8), run(11, oom=True))


def predictions(*gib: float) -> list[Prediction]:
    return [predicted(real, int(size * GIB)) for real, size in zip(RUNS, gib, strict=True)]


def test_error_is_predicted_minus_taken_over_taken() -> None:
    assert error(run(4), predicted(run(4), 5 * GIB)) == pytest.approx(0.25)
    assert error(run(4), predicted(run(4), 3 * GIB)) == pytest.approx(-0.25)


def test_error_of_oom_run_is_none() -> None:
    assert error(run(11, oom=True), predicted(run(11, oom=True), 11 * GIB)) is None
    assert error(run(4), Prediction(taken_bytes=None, oom=None)) is None


def test_predicted_oom_if_context_leaves_fewer_bytes() -> None:
    available = 12 * GIB - find_gpu("rtx-3060").context_bytes
    assert [predicted(run(4), size).oom for size in (available, available + 1, None)] == [False, True, None]


def test_score_uses_absolute_errors() -> None:
    found = score(RUNS, predictions(5, 1, 8, 13))  # +25 %, -50 %, 0 %, and a correct OOM
    assert (found.median_error, found.mean_error, found.worst_error) == (0.25, 0.25, 0.5)
    assert (found.right_verdicts, found.verdicts) == (4, 4)


def test_score_counts_both_wrong_verdicts() -> None:
    assert score(RUNS, predictions(13, 2, 8, 11)).right_verdicts == 2  # one false alarm, one missed


def test_score_without_verdicts_is_none() -> None:
    silent = [Prediction(taken_bytes=GIB, oom=None)] * len(RUNS)
    assert score(RUNS, silent).right_verdicts is None


def test_score_without_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="no run has both"):
        score(RUNS, [Prediction(taken_bytes=None, oom=None)] * len(RUNS))


def test_published_runs_have_known_gpus_and_models() -> None:
    torchvision = pytest.importorskip("torchvision")
    sample, mnasnet = read_runs(), read_runs(FOLDER / "xmem_mnasnet.csv")
    assert (len(sample), len(mnasnet)) == (20, 11)
    assert sum(one.oom for one in sample) == 4
    runs = (*sample, *mnasnet)
    known = set(torchvision.models.list_models())
    for one in runs:
        assert find_gpu(one.gpu).total_bytes == one.gpu_total_bytes
        assert one.torchvision_name in known


def test_published_figures_equal_readme() -> None:
    assert [case.workspace_bytes for case in read_convolutions()] == [8_462_848, 8_536_576, 8_978_944]
    assert read_attention() == {
        "max_memory_allocated": 3_249_144_832,
        "max_memory_reserved": 3_781_165_056,
        "memory_allocated_at_end": 31_719_936,
    }


def stack(cudnn: str, *reserved_gib: float) -> StackResult:
    taken = (
        PhantomRun(oom=one.oom, requested_bytes=GIB, allocated_bytes=GIB, reserved_bytes=int(size * GIB))
        for one, size in zip(RUNS, reserved_gib, strict=True)
    )
    return StackResult(torch="2.14.1+cu130", cudnn=cudnn, workspaces=(8_462_848, 410_112, 8_978_944), runs=tuple(taken))


def collected(*stacks: StackResult) -> Collected:
    truth = read_attention()
    return Collected(
        machine=("a machine",),
        attention={
            "allocated": truth["max_memory_allocated"],
            "reserved": truth["max_memory_reserved"] + 512,
            "at_the_end": truth["memory_allocated_at_end"],
        },
        attention_estimates={"MemTracker": truth["max_memory_allocated"] // 2, "torchinfo": None},
        convolutions=read_convolutions(),
        runs=RUNS,
        stacks=stacks,
        estimates={
            "MemTracker": (2 * GIB, GIB, 4 * GIB, 11 * GIB),
            "torchinfo": (4 * GIB, 2 * GIB, 8 * GIB, 13 * GIB),
        },
    )


def test_page_shows_figures() -> None:
    text = page(collected(stack("9.24.0", 5, 2, 8, 12)), read_attention(), [])
    assert "| `max_memory_allocated` | 3,249,144,832 | 3,249,144,832 | none |" in text
    assert "| `max_memory_reserved` | 3,781,165,056 | 3,781,165,568 | +512 B |" in text
    assert "- MemTracker: 1,624,572,416 B, -50.0 %" in text
    assert "- torchinfo: -\n" in text
    assert "| float32 | 8,536,576 | **410,112** |" in text
    assert "| phantom, torch 2.14.1, cuDNN 9.24.0 | 0.0 % | 8.3 % | 25.0 % | 4 of 4 |" in text
    assert "| MemTracker | 50.0 % | 50.0 % | 50.0 % | 3 of 4 |" in text
    assert "| torchinfo | 0.0 % | 0.0 % | 0.0 % | 4 of 4 |" in text
    assert (
        "| VGG16, Adam, 8, RTX 3060 | 4,096 | +25.0 % | -50.0 % | +0.0 % | **out of memory** | -50.0 % | +0.0 % |"
        in text
    )
    assert "This page was made with one set of them" in text
    assert "forty training points" not in text  # no record is given


def test_page_shows_spread_over_versions() -> None:
    text = page(collected(stack("9.24.0", 5, 2, 8, 12), stack("9.20.0", 4, 2, 8, 12)), read_attention(), [])
    assert "on the same machine: torch 2.14.1, cuDNN 9.20.0" in text
    assert "25.0 % in reserved ones" in text.replace("\n  ", " ")
    assert "5.00 GiB (torch 2.14.1, cuDNN 9.24.0), 4.00 GiB (torch 2.14.1, cuDNN 9.20.0)" in text


def test_predictions_by_tool_have_published_ones() -> None:
    tools = predictions_by_tool(collected(stack("9.24.0", 5, 2, 8, 12)))
    assert [tools[name][0].taken_bytes for name in ("xMem", "DNNMem", "SchedTune")] == [2 * GIB, 4 * GIB, 13 * GIB]


def test_published_limits_begin_without_one() -> None:
    programs = read_limited()
    assert len(programs) == 15
    for first, *others in programs:
        assert (first.limit_of, first.fraction, first.taken_bytes) == ("", 1, first.run.taken_bytes)
        assert tuple(one.limit_of for one in others) == TOOLS
        assert all(one.run is first.run and 0 < one.fraction < 1 for one in others)
        for one in others:  # neither a run that ran out of memory nor one above its limit has a figure
            assert one.taken_bytes is None or (
                not one.oom and one.taken_bytes <= one.fraction * one.run.gpu_total_bytes
            )


def test_page_separates_limits_that_matter() -> None:
    program = replace(RUNS[0], taken_bytes=4 * GIB, gpu_total_bytes=10 * GIB)
    real = [
        LimitedRun(run=program, limit_of=name, fraction=fraction, oom=oom, taken_bytes=taken)
        for name, fraction, oom, taken in (
            ("", 1.0, False, 4 * GIB),
            ("xMem", 0.5, False, 3 * GIB),  # above the first peak
            ("DNNMem", 0.3, False, 2 * GIB),
            ("SchedTune", 0.2, True, None),
        )
    ]
    peaks = {"": 5 * GIB, "xMem": 3 * GIB, "DNNMem": GIB, "SchedTune": None}
    found = LimitedRuns(torch="2.14.1", cudnn="9.24.0", programs=(Limited(reserved_bytes=peaks),))
    shown = limits([real], found)
    name = f"{program.model}, {program.optimizer}, {program.batch_size}, {program.gpu}"
    row = f"| {name} | 4,096: +25.0 % | 3,072: +0.0 % | 2,048: -50.0 % | out of memory |"
    assert row in shown["limits"].splitlines()
    assert (shown["free_runs"], shown["free_median"], shown["free_range"]) == ("2", "12.5 %", "+0.0 % to +25.0 %")
    assert (shown["limited_runs"], shown["limited_median"]) == ("1", "50.0 %")


def test_page_marks_wrong_verdicts_with_a_limit() -> None:
    real = [
        LimitedRun(run=RUNS[0], limit_of=name, fraction=0.1, oom=oom, taken_bytes=taken)
        for name, oom, taken in (("", False, 4 * GIB), ("xMem", False, GIB), ("DNNMem", True, None))
    ]
    unknown = replace(real[0], limit_of="SchedTune", taken_bytes=None)
    peaks = {"": 4 * GIB, "xMem": None, "DNNMem": GIB, "SchedTune": GIB}
    found = LimitedRuns(torch="2.14.1", cudnn="9.24.0", programs=(Limited(reserved_bytes=peaks),))
    shown = limits([[*real, unknown]], found)["limits"]
    assert shown.endswith("| 4,096: +0.0 % | 1,024: **out of memory** | out of memory: **fits** | - |")


def test_committed_limited_runs_match_the_published_ones() -> None:
    found = read_found()
    assert len(found.programs) == len(read_limited())
    for real, phantom in zip(read_limited(), found.programs, strict=True):
        assert tuple(one.limit_of for one in real) == tuple(phantom.reserved_bytes)


def test_run_with_a_limit_reserves_no_more() -> None:
    small = replace(read_runs(FOLDER / "xmem_mnasnet.csv")[0], batch_size=64)
    with open_process(Stack()) as process:
        (free,) = process.limited(small, [1.0])
        assert free is not None
        share = free / small.gpu_total_bytes
        limited, none = process.limited(small, [0.95 * share, 0.3 * share])
    assert limited is not None
    assert limited <= 0.95 * free
    assert none is None


def test_page_lists_records_of_real_gpus(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(to_json(sample_verification())))
    text = page(collected(stack("9.24.0", 5, 2, 8, 12)), read_attention(), records(tmp_path))
    assert "| NVIDIA H100 80GB HBM3 | 2.14.1 | 9.24.0 | 580.65 | 1 of 4 | +512 B | +2,097,152 B |" in text


def model_peaks(model: str, measured: int, emulated: int) -> ModelPeaks:
    return ModelPeaks(family="CNN", model=model, batch_size=2, measured=peaks(measured), emulated=peaks(emulated))


def peaks(size: int) -> Peaks:
    return Peaks(requested_bytes=size // 10, allocated_bytes=size, reserved_bytes=None)


def test_families_count_equal_and_name_worst() -> None:
    """Requested bytes are a tenth, rounded down, so that one model only differs in allocated bytes."""
    models = [model_peaks("equal", 1000, 1000), model_peaks("near", 1000, 1001), model_peaks("low", 1000, 900)]
    (found,) = families(models)
    assert (found.points, found.equal_requested, found.equal_allocated) == (3, 2, 1)
    assert found.median_error == pytest.approx(0.001)
    assert found.worst.model == "low"


def test_transformers_requested_equal_on_gpu_and_phantom() -> None:
    models = [one for one in read_models() if one.family == "transformers"]
    assert len(models) == 7
    assert all(one.measured.requested_bytes == one.emulated.requested_bytes for one in models)


def test_records_of_two_phantoms_are_refused(tmp_path: Path) -> None:
    emulated = sample_verification(gpu=sample_environment(source=Source.EMULATED))
    (tmp_path / "one.json").write_text(json.dumps(to_json(emulated)))
    with pytest.raises(ResultError, match="its GPU is emulated, not measured"):
        records(tmp_path)


def test_table_has_line_under_headings() -> None:
    assert table(("a", "b"), [("x", "+2.5 %")]).splitlines() == ["| a | b |", "| --- | ---: |", "| x | +2.5 % |"]


def test_committed_page_is_up_to_date() -> None:
    assert FOLDER.with_suffix(".md").read_text() == page(read(LATEST), read_attention(), records(FOLDER))


def test_committed_run_attention_is_exact() -> None:
    found = read(LATEST)
    truth = read_attention()
    assert found.attention["allocated"] == truth["max_memory_allocated"]
    assert found.attention["reserved"] == truth["max_memory_reserved"]
    own = score(found.runs, found.stacks[0].predictions())
    assert (own.right_verdicts, own.verdicts) == (20, 20)
    assert replace(found, runs=read_runs()) == found


@pytest.mark.usefixtures("phantom_device_h100")
def test_committed_run_is_reproducible() -> None:
    latest = read(LATEST)
    number = next(place for place, one in enumerate(latest.runs) if one.model == "MobeNetV3Small")
    with open_process(Stack()) as process:
        versions = process.versions()
        found = process.run("phantom", latest.runs[number])
        missing = process.run("torchinfo", latest.runs[number])["bytes"]
    own = latest.stacks[0]
    assert not found["oom"]
    if (versions["torch"], versions["cudnn"]) != (own.torch, own.cudnn):
        pytest.skip(f"the committed run had {own.label}")
    assert missing in (None, latest.estimates["torchinfo"][number])
    assert found["reserved"] == own.runs[number].reserved_bytes
    assert found["allocated"] == own.runs[number].allocated_bytes
