"""The star at figures of NVML that contain an assumed CUDA context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType

from memprof.config.parallel import MeshConfig
from memprof.experiments.fit_gpus import MeshRun
from memprof.experiments.run import SimulatedRun
from memprof.gpus.catalog import find_gpu
from memprof.gpus.monitor import GpuUse, ProcessUse
from memprof.gpus.phantom.ledger import Ledger
from memprof.gpus.phantom.run import CommandRun, RunRequest
from memprof.records import RunRecord, Source
from memprof.report.assumed import ASSUMED_CONTEXT, assumes_context
from memprof.report.terminal.explain import explain_report, peak_report
from memprof.report.terminal.fit_gpus import gpus_table
from memprof.report.terminal.max_batch import max_batch_panel, max_batch_table
from memprof.report.terminal.monitor import monitor_table
from memprof.report.terminal.run import runs_table
from memprof.report.terminal.sweep import sweep_table
from memprof.units import GIB, MIB
from tests.samples import sample_environment, sample_explained, sample_max_batch, sample_reading, sample_record

Show = Callable[[RenderableType, int], str]
EACH = pytest.mark.parametrize(("gpu", "starred"), [("l4", True), ("h200", False)])


def has_footnote(text: str) -> bool:
    return ASSUMED_CONTEXT in " ".join(text.split())


@pytest.mark.parametrize(
    ("gpu", "source", "assumed"),
    [
        ("l4", Source.EMULATED, True),
        ("h200", Source.EMULATED, False),
        ("generic-24gib", Source.EMULATED, False),  # as an H100
        ("no-such-gpu", Source.EMULATED, False),
        ("NVIDIA L4", Source.MEASURED, False),
        (None, Source.ANALYTIC, False),
    ],
)
def test_context_is_assumed_only_of_a_phantom_without_figure(gpu: str | None, source: Source, assumed: bool) -> None:
    assert assumes_context(sample_environment(gpu=gpu, source=source)) is assumed


def on(gpu: str, record: RunRecord) -> RunRecord:
    return replace(record, environment=replace(record.environment, gpu=gpu))


@EACH
def test_sweep_table_stars_nvml_with_an_assumed_context(gpu: str, starred: bool, show: Show) -> None:
    text = show(sweep_table([on(gpu, sample_record())], 120), 120)
    assert "NVML" in text
    assert ("NVML*" in text, has_footnote(text)) == (starred, starred)


@EACH
def test_explain_report_stars_the_assumed_context(gpu: str, starred: bool, show: Show) -> None:
    explained = sample_explained()
    text = show(explain_report(replace(explained, record=on(gpu, explained.record)), 0, 1, 120), 120)
    assert "+ context" in text
    assert ("+ context*" in text, has_footnote(text)) == (starred, starred)


@pytest.mark.parametrize("starred", [True, False])
def test_tracked_peak_stars_the_assumed_context(starred: bool, show: Show) -> None:
    explanation = sample_explained().explanation
    assert explanation is not None
    text = show(peak_report(explanation, "region", Source.EMULATED, 120, starred=starred), 120)
    assert ("device*" in text, has_footnote(text)) == (starred, starred)


@EACH
def test_max_batch_panel_stars_device_and_headroom(gpu: str, starred: bool, show: Show) -> None:
    text = show(max_batch_panel(sample_max_batch(gpu=gpu), 100), 100)
    assert ("device*" in text, "headroom 1.00 MiB*" in text, has_footnote(text)) == (starred,) * 3


def test_max_batch_table_stars_only_assumed_gpus(show: Show) -> None:
    answers = [sample_max_batch(gpu="l4", free_bytes=2 * MIB), sample_max_batch(gpu="h200", free_bytes=3 * MIB)]
    text = show(max_batch_table(answers, 120), 120)
    assert ("2.00 MiB*" in text, "3.00 MiB*" in text, has_footnote(text)) == (True, False, True)
    assert not has_footnote(show(max_batch_table(answers[1:], 120), 120))


@EACH
def test_table_of_meshes_stars_the_headroom(gpu: str, starred: bool, show: Show) -> None:
    reading = sample_reading(context_bytes=300 * MIB)
    record = on(gpu, sample_record(reading=reading))
    text = show(gpus_table([MeshRun(mesh=MeshConfig(shard=2), record=record)], 120), 120)
    assert "headroom" in text
    assert ("headroom*" in text, has_footnote(text)) == (starred, starred)


@EACH
def test_table_of_run_stars_the_device_memory(gpu: str, starred: bool, show: Show) -> None:
    spec = find_gpu(gpu)
    ledger = Ledger(
        gpu_name=spec.name,
        total_bytes=spec.total_bytes,
        devices=1,
        used_bytes=(0,) * 16,
        peak_bytes=(4 * GIB, *(0,) * 15),
        unknown_workspaces=0,
        processes=(),
    )
    asked = RunRequest(spec=spec, command=["python", "train.py"], devices=1)
    ended = CommandRun(returncode=0, ledger=ledger, counters=())
    text = show(runs_table([SimulatedRun(asked=asked, ended=ended)], 120), 120)
    assert "4.00 GiB" in text
    assert ("4.00 GiB*" in text, has_footnote(text)) == (starred, starred)


@pytest.mark.parametrize(
    ("name", "source", "starred"),
    [
        ("NVIDIA L4", Source.EMULATED, True),
        ("NVIDIA H200", Source.EMULATED, False),
        ("NVIDIA L4", Source.MEASURED, False),
    ],
)
def test_monitor_stars_contexts_that_are_assumed(name: str, source: Source, starred: bool, show: Show) -> None:
    process = ProcessUse(pid=7, name="python", used_bytes=2 * GIB, peak_bytes=3 * GIB)
    gpu = GpuUse(
        index=0,
        name=name,
        source=source,
        used_bytes=2 * GIB,
        peak_bytes=3 * GIB,
        total_bytes=15 * GIB,
        processes=(process,),
    )
    text = show(monitor_table([gpu], "now", 120), 120)
    assert (text.count("2.00 GiB*"), text.count("3.00 GiB*"), has_footnote(text)) == (
        2 * starred,
        2 * starred,
        starred,
    )
    idle = replace(gpu, used_bytes=0, peak_bytes=0, processes=())
    assert "*" not in show(monitor_table([idle], "now", 120), 120)
