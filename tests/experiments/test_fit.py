from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting, load_variant
from memprof.errors import WorkloadError
from memprof.experiments.compare import MemoryBudget, VariantRuns, open_variant_runs
from memprof.experiments.fit import Fit, FitRequest, Step, cheapest_of, peak_bytes, smallest_of
from memprof.experiments.memory_savers import list_memory_savers, merged_settings
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
def runs(path: Path, phantom_device_h100: Device) -> Iterator[VariantRuns]:  # noqa: ARG001 - skips without a phantom
    with open_variant_runs(load_variant(path, ())) as runs:
        yield runs


@pytest.fixture(scope="module")
def config_of(path: Path) -> Callable[[Sequence[Setting]], SweepConfig]:
    return lambda settings: load_variant(path, (), settings).config


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


def test_a_config_that_fits_needs_no_knob(search: Search) -> None:
    (step,) = search(None)
    assert (step.added, step.fits, step.savers) == ("as configured", True, ())
    assert cheapest_of([step]) is step


def test_each_step_says_what_it_saved_by_its_own_run(steps: list[Step]) -> None:
    best = steps[0]
    climb = [step for step in steps[1:] if not step.left_out]
    assert climb
    for step in climb:
        before, after = peak_bytes(best.free), peak_bytes(step.free)
        assert before is not None
        assert after is not None
        assert step.saved_bytes == before - after
        best = step if step.kept else best


def test_the_climb_ends_with_the_first_set_that_fits(steps: list[Step]) -> None:
    climb = [step for step in steps if not step.left_out]
    assert [step.fits for step in climb] == [False] * (len(climb) - 1) + [True]


def test_the_set_at_the_end_ran_to_its_end_within_the_memory(
    steps: list[Step], runs: VariantRuns, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    best = cheapest_of(steps)
    assert best is not None
    reserved = peak_bytes(best.within, "reserved")
    assert reserved is not None
    assert reserved <= 160 * MIB
    (again,) = runs.records([config_of(merged_settings(best.savers))], MemoryBudget(limit_bytes=160 * MIB))
    assert again.status is Status.OK


def test_no_knob_of_the_set_at_the_end_can_be_left_out(
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


def test_where_nothing_fits_the_whole_ladder_was_tried_and_the_smallest_is_known(
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


def test_what_a_run_would_take_is_known_where_the_phantom_is_too_small(
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


def test_a_config_that_fails_for_another_reason_than_memory_is_refused_with_it(
    search: Search, config_of: Callable[[Sequence[Setting]], SweepConfig]
) -> None:
    wrong = config_of(()).model_copy(update={"input": (config_of(()).input[0].model_copy(update={"shape": (255,)}),)})
    with pytest.raises(WorkloadError, match=r"^model.py:build, batch 32768: forward of step 1: .*mat1"):
        search(160 * MIB, lambda _: wrong)
