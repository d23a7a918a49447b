"""The monitor of GPUs: phantoms in use with their processes, and the peaks since it started."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from memprof.errors import DeviceError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.monitor import Monitor, MonitorSelection, open_monitor, process_name
from memprof.gpus.phantom.build import PhantomLibraries, build_phantom
from memprof.gpus.phantom.ledger import new_ledger, running_ledgers
from memprof.gpus.real import RealGpu, RealUse
from memprof.records import Source
from memprof.units import GIB
from tests.gpus.phantom.sharing import CONTEXT, GPU, Sharer

EVERYTHING = MonitorSelection(real=None, phantoms=None)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PhantomLibraries:
    """The built phantom, for a user who runs nothing else on one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    try:
        return build_phantom()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def monitor() -> Monitor:
    """A monitor of all phantoms, on a machine without a real GPU."""
    return Monitor(list, running_ledgers, EVERYTHING)


def test_a_phantom_in_use_is_seen_to_the_byte_with_its_process(libraries: PhantomLibraries, monitor: Monitor) -> None:
    assert monitor.sample() == ()
    with Sharer(libraries) as sharer:
        sharer.take(GIB)
        (gpu,) = monitor.sample()
        assert (gpu.index, gpu.name, gpu.source) == (0, GPU.name, Source.EMULATED)
        assert (gpu.used_bytes, gpu.peak_bytes, gpu.total_bytes) == (GIB + CONTEXT, GIB + CONTEXT, GPU.total_bytes)
        (process,) = gpu.processes
        assert process.pid == sharer.process.pid
        assert (process.used_bytes, process.peak_bytes) == (GIB + CONTEXT, GIB + CONTEXT)
        assert process.name is not None
        assert process.name.startswith("python")
        assert process.name.endswith("share.py")


def test_a_peak_between_two_samples_is_seen(libraries: PhantomLibraries, monitor: Monitor) -> None:
    monitor.sample()
    with Sharer(libraries) as sharer:
        sharer.take(GIB)
        monitor.sample()
        sharer.take(4 * GIB)
        sharer.take(-1)
        (gpu,) = monitor.sample()
    assert (gpu.used_bytes, gpu.peak_bytes) == (GIB + CONTEXT, 5 * GIB + CONTEXT)
    assert gpu.processes[0].peak_bytes == 5 * GIB + CONTEXT


def test_monitor_does_not_count_a_peak_before_it_started(libraries: PhantomLibraries, monitor: Monitor) -> None:
    with Sharer(libraries) as sharer:
        sharer.take(GIB)
        sharer.take(4 * GIB)
        sharer.take(-1)
        (gpu,) = monitor.sample()
        assert gpu.peak_bytes == gpu.processes[0].peak_bytes == GIB + CONTEXT
        sharer.take(2 * GIB)
        sharer.take(-1)
        (gpu,) = monitor.sample()  # below what it had reached before: only the samples show it
        assert gpu.peak_bytes == GIB + CONTEXT
        sharer.take(5 * GIB)
        sharer.take(-1)
        (gpu,) = monitor.sample()
        assert gpu.peak_bytes == gpu.processes[0].peak_bytes == 6 * GIB + CONTEXT


def test_runs_take_turns_on_one_phantom_whose_peak_stays(libraries: PhantomLibraries, monitor: Monitor) -> None:
    monitor.sample()
    for size in (3 * GIB, GIB):
        with Sharer(libraries) as sharer:
            sharer.take(size)
            (gpu,) = monitor.sample()
            assert [process.pid for process in gpu.processes] == [sharer.process.pid]
            assert gpu.processes[0].peak_bytes == size + CONTEXT
        assert (gpu.index, gpu.peak_bytes) == (0, 3 * GIB + CONTEXT)
        (idle,) = monitor.sample()
        assert (idle.used_bytes, idle.peak_bytes, idle.processes) == (0, 3 * GIB + CONTEXT, ())


def test_concurrent_runs_have_their_own_phantoms(libraries: PhantomLibraries, monitor: Monitor) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(Sharer(libraries)) for _ in range(2))
        first.take(GIB)
        monitor.sample()
        second.take(2 * GIB)
        gpus = monitor.sample()
    assert [(gpu.index, gpu.used_bytes) for gpu in gpus] == [(0, GIB + CONTEXT), (1, 2 * GIB + CONTEXT)]


def test_the_processes_of_one_run_are_on_the_same_phantom(libraries: PhantomLibraries, monitor: Monitor) -> None:
    with ExitStack() as stack:
        ledger = stack.enter_context(new_ledger())
        first, second = (stack.enter_context(Sharer(libraries, ledger)) for _ in range(2))
        first.take(GIB)
        second.take(2 * GIB)
        (gpu,) = monitor.sample()
    assert gpu.used_bytes == 3 * GIB + 2 * CONTEXT
    assert {process.pid: process.used_bytes for process in gpu.processes} == {
        first.process.pid: GIB + CONTEXT,
        second.process.pid: 2 * GIB + CONTEXT,
    }


def test_only_the_phantoms_that_were_named_are_seen(libraries: PhantomLibraries) -> None:
    with Sharer(libraries) as sharer:
        sharer.take(GIB)
        with open_monitor(["t4"]) as other, open_monitor(["t4", GPU.key]) as both:
            assert other.sample() == ()
            assert [gpu.name for gpu in both.sample()] == [find_gpu(GPU.key).name]


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("name", "message"),
    [("t5", "did you mean t4"), ("cuda:0", "no real GPU cuda:0 \\(none found\\)"), ("cuda:x", "cuda:x")],
)
def test_a_gpu_that_is_not_there_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match=message), open_monitor([name]):
        pass


REAL_GPUS = [
    RealGpu(
        name=name,
        uuid=f"GPU-{name}",
        total_bytes=8 * GIB,
        used_bytes=0,
        compute_capability="8.0",
        driver_version="580.00",
    )
    for name in ("first", "second")
]


def test_real_gpu_peak_is_the_highest_sample_or_unknown() -> None:
    pid = os.getpid()
    readings = iter(
        [
            [RealUse(used_bytes=GIB, processes={pid: None}), RealUse(used_bytes=None, processes={})],
            [RealUse(used_bytes=3 * GIB, processes={pid: 2 * GIB}), RealUse(used_bytes=GIB, processes={})],
            [RealUse(used_bytes=2 * GIB, processes={pid: None}), RealUse(used_bytes=None, processes={})],
        ]
    )
    monitor = Monitor(lambda: list(zip(REAL_GPUS, next(readings), strict=True)), dict, EVERYTHING)
    seen = [
        [(gpu.used_bytes, gpu.peak_bytes, [(p.used_bytes, p.peak_bytes) for p in gpu.processes]) for gpu in sample]
        for sample in (monitor.sample(), monitor.sample(), monitor.sample())
    ]
    assert seen == [
        [(GIB, GIB, [(None, None)]), (None, None, [])],
        [(3 * GIB, 3 * GIB, [(2 * GIB, 2 * GIB)]), (GIB, GIB, [])],
        [(2 * GIB, 3 * GIB, [(None, 2 * GIB)]), (None, GIB, [])],
    ]


def test_phantoms_are_numbered_after_the_real_gpus(libraries: PhantomLibraries) -> None:
    use = RealUse(used_bytes=0, processes={})
    second_alone = MonitorSelection(real=frozenset({1}), phantoms=None)
    monitor = Monitor(lambda: [(gpu, use) for gpu in REAL_GPUS], running_ledgers, second_alone)
    with Sharer(libraries) as sharer:
        sharer.take(GIB)
        gpus = monitor.sample()
    assert [(gpu.index, gpu.name, gpu.source) for gpu in gpus] == [
        (1, "second", Source.MEASURED),
        (2, GPU.name, Source.EMULATED),
    ]


def test_a_process_that_is_gone_has_no_name() -> None:
    assert process_name(os.getpid()) is not None
    assert process_name(2**30) is None


@pytest.mark.gpu
def test_a_real_gpu_is_seen_with_what_torch_took_of_it() -> None:
    import torch

    held = torch.empty(GIB, dtype=torch.uint8, device="cuda:0")
    with open_monitor(["cuda:0"]) as monitor:
        (gpu,) = monitor.sample()
    assert gpu.source is Source.MEASURED
    assert gpu.used_bytes is not None
    assert held.nbytes < gpu.used_bytes <= gpu.total_bytes
