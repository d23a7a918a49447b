"""The search for the cheapest settings with which a batch fits; every figure is that of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from memprof.config.overrides import Flag
from memprof.config.schema import SweepConfig, TensorConfig
from memprof.config.variants import Setting, load_variant
from memprof.errors import WorkloadError
from memprof.experiments.compare import MemoryBudget, VariantRuns
from memprof.experiments.fit import Fit, FitRequest, Step, cheapest_of, peak_bytes, smallest_of
from memprof.experiments.memory_savers import MemorySaver, list_memory_savers, merged_settings
from memprof.experiments.session import open_session
from memprof.gpus.select import Device
from memprof.records import Status
from memprof.units import MIB

# Two blocks to checkpoint, activations that are most of the memory, and few parameters: runs take milliseconds.
MODEL = """
from torch import nn

def build():
    block = lambda: nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    return nn.Sequential(block(), block(), nn.Linear(256, 10))
"""
CONFIG = """
model: model.py:build
input: {shape: [256]}
target: {shape: [], dtype: int64, range: [0, 10]}
optimizers: [adam]
batch_sizes: [32768]
gpu: h100-80gb
"""
Search = Callable[..., list[Step]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    (folder / "model.py").write_text(MODEL)
    (folder / "net.yaml").write_text(CONFIG)
    return folder / "net.yaml"


@pytest.fixture(scope="module")
def runs(path: Path, phantom_device_h100: Device) -> Iterator[VariantRuns]:
    with open_session(load_variant(path, ()), phantom_device_h100) as session:
        yield VariantRuns(session)


@pytest.fixture(scope="module")
def config_of(path: Path) -> Callable[[Sequence[Setting]], SweepConfig]:
    return lambda settings: load_variant(path, (), settings, Flag.SAVER).config


@pytest.fixture(scope="module")
def search(runs: VariantRuns, config_of: Callable[[Sequence[Setting]], SweepConfig]) -> Search:
    def fit(memory_bytes: int | None, config_of: Callable[[Sequence[Setting]], SweepConfig] = config_of) -> list[Step]:
        savers = list_memory_savers(config_of(()), bf16=True)
        return list(Fit(runs, FitRequest(config_of=config_of, savers=savers, memory_bytes=memory_bytes)).steps())

    return fit


def _split(settings: Sequence[Setting]) -> bool:
    return any(setting.key == "batch_size" for setting in settings)


@pytest.fixture(scope="module")
def steps(search: Search) -> list[Step]:
    return search(160 * MIB)


def test_config_that_fits_needs_no_saver(search: Search) -> None:
    (step,) = search(None)
    assert (step.added, step.fits, step.savers) == ("as configured", True, ())
    assert cheapest_of([step]) is step


def test_step_has_what_its_own_run_saved(steps: list[Step]) -> None:
    best = steps[0]
    climb = [step for step in steps[1:] if not step.left_out]
    assert climb
    for step in climb:
        before, after = peak_bytes(best.free), peak_bytes(step.free)
        assert before is not None
        assert after is not None
        assert step.saved_bytes == before - after
        best = step if step.kept else best


def test_savers_are_added_until_one_set_fits(steps: list[Step]) -> None:
    climb = [step for step in steps if not step.left_out]
    assert [step.fits for step in climb] == [False] * (len(climb) - 1) + [True]


def test_final_set_ran_within_the_memory(
    steps: list[Step], runs: VariantRuns, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    best = cheapest_of(steps)
    assert best is not None
    reserved = peak_bytes(best.within, "reserved")
    assert reserved is not None
    assert reserved <= 160 * MIB
    (again,) = runs.records([config_of(merged_settings(best.savers))], MemoryBudget(limit_bytes=160 * MIB))
    assert again.status is Status.OK


def test_no_saver_of_the_final_set_can_be_left_out(
    steps: list[Step], runs: VariantRuns, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    best = cheapest_of(steps)
    assert best is not None
    standing = [saver for saver in best.savers if saver.settings[0] in merged_settings(best.savers)]
    assert standing
    for saver in standing:
        fewer = merged_settings([other for other in best.savers if other is not saver])
        (record,) = runs.records([config_of(fewer)], MemoryBudget(limit_bytes=160 * MIB))
        assert record.status is Status.OOM


def test_all_savers_are_tried_if_nothing_fits(
    search: Search, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    few = Setting(key="batch_size", value="8")
    steps = search(MIB, lambda settings: config_of((*settings,) if _split(settings) else (*settings, few)))
    assert cheapest_of(steps) is None
    smallest = smallest_of(steps)
    assert smallest is not None
    peaks = [peak for step in steps if (peak := peak_bytes(step.free)) is not None]
    assert peak_bytes(smallest.free) == min(peaks)
    assert {"checkpoint all blocks", "accumulate 8 passes of 1"} <= {step.added for step in steps}


def test_unbounded_run_has_the_peak_of_a_batch_too_large(
    runs: VariantRuns, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    huge = config_of((Setting(key="batch_size", value=str(2**25)),))
    bounded, unbounded = (next(runs.records([huge], MemoryBudget(unbounded=unbounded))) for unbounded in (False, True))
    assert bounded.status is Status.OOM
    peak = peak_bytes(unbounded)
    total = runs.environment.gpu_total_bytes
    assert peak is not None
    assert total is not None
    assert peak > total


def test_step_with_an_invalid_setting_has_the_reason(
    runs: VariantRuns, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    wrong = MemorySaver(name="wrong", settings=(Setting(key="precision", value="fp31"),), cost="none")
    first, step = Fit(runs, FitRequest(config_of=config_of, savers=(wrong,), memory_bytes=MIB)).steps()
    assert first.kept
    assert (step.kept, step.fits, step.free, step.within) == (False, False, None, None)
    assert str(step.reason).startswith("precision=fp31: 'fp31' is not one of fp32, ")


def test_config_that_fails_otherwise_is_a_workload_error(
    search: Search, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    wrong = config_of(()).model_copy(update={"input": (TensorConfig(shape=(255,)),)})
    with pytest.raises(WorkloadError, match=r"^model.py:build, batch 32,768: forward of step 1: .*mat1"):
        search(160 * MIB, lambda _: wrong)
