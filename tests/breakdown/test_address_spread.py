"""The error bar of a point: orders of addresses that differ by a known amount, acted out and on phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import simulate
from memprof.breakdown.address_spread import FIGURES, AddressRun, AddressSpread, act_out
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.experiments.explain import explain_point, find_address_spread
from memprof.experiments.session import open_session
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Status
from memprof.units import MIB
from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS

# Two free blocks of one size in two segments: which of them is taken decides whether the neighbours of the other grow
# together again. The numbers are MiB, as in `requests`.
MODEL = """
import torch

def take(size):
    return torch.empty(size * 2**20, dtype=torch.uint8, device="cuda")

def tie(size):
    alone, wide = take(size), take(2 * size)
    del wide
    half = take(size)
    del alone
    return take(size)

class Ties(torch.nn.Linear):
    began = False

    def forward(self, x):
        if x.is_cuda and type(x) is torch.Tensor and not self.began:
            self.began = True
            one, again = tie(48), take(96)
        return super().forward(x)

def build():
    return Ties(4, 2)
"""


def requests(*steps: float | str, names: Sequence[str]) -> list[int]:
    """The requests of so many MiB by name, and of a name alone: it is freed."""
    places: dict[str, int] = {}
    found = []
    for step, name in zip(steps, names, strict=True):
        if step == "free":
            found.append(~places[name])
        else:
            places[name] = len(places)
            found.append(int(float(step) * MIB))
    return found


RESERVED = requests(
    *(48, 96, "free", 48, "free", 48, "free", 96),
    names=("alone", "wide", "wide", "half", "alone", "tie", "half", "again"),
)
ALLOCATED = requests(
    *(12, 24, "free", 12, "free", 12, "free", 160, 11.5),
    names=("alone", "wide", "wide", "half", "alone", "tie", "half", "large", "short"),
)


def figures(runs: Sequence[AddressRun], name: str) -> dict[AddressPolicy, float]:
    return {run.policy: getattr(run, f"{name}_bytes") / MIB for run in runs}


def test_the_lower_address_decides_what_is_reserved() -> None:
    reserved = figures(act_out(RESERVED, None), "reserved")
    assert reserved[AddressPolicy.ASCENDING] == 48 + 96
    assert reserved[AddressPolicy.DESCENDING] == 48 + 96 + 96


def test_the_lower_address_decides_what_is_allocated() -> None:
    runs = act_out(ALLOCATED, None)
    allocated = figures(runs, "allocated")
    assert allocated[AddressPolicy.ASCENDING] == 12 + 160 + 11.5
    assert allocated[AddressPolicy.DESCENDING] == 12 + 160 + 12  # a rest of half a MiB is not split off
    assert set(figures(runs, "requested").values()) == {12 + 160 + 11.5}


def test_the_spread_is_between_the_lowest_and_the_highest() -> None:
    runs = act_out(RESERVED, None)
    spread = AddressSpread(runs=runs, acted_out=()).spread("reserved")
    assert spread is not None
    assert (spread.lowest_bytes, spread.highest_bytes, spread.bytes) == (144 * MIB, 240 * MIB, 96 * MIB)


def test_a_run_that_ended_otherwise_is_named_and_not_counted() -> None:
    runs = act_out(RESERVED, 150 * MIB)
    assert runs[0].status is Status.OK
    bar = AddressSpread(runs=runs[:1], acted_out=runs)
    assert {run.policy for run in bar.ended_otherwise} >= {AddressPolicy.DESCENDING}
    spread = bar.acted_out_spread("reserved")
    assert spread is not None
    assert spread.highest_bytes == 144 * MIB


def test_nothing_read_is_no_spread() -> None:
    nothing = AddressRun(
        policy=AddressPolicy.ASCENDING,
        status=Status.ERROR,
        requested_bytes=None,
        allocated_bytes=None,
        reserved_bytes=None,
    )
    assert AddressSpread(runs=(nothing,), acted_out=()).spread("reserved") is None


@pytest.fixture(scope="module")
def bars(phantom_device_h100: Device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, AddressSpread]:
    del phantom_device_h100  # where no phantom can be had, these tests are skipped
    folder = tmp_path_factory.mktemp("ties")
    (folder / "ties.py").write_text(MODEL)
    (folder / "ties.yaml").write_text(
        "model: ties.py:build\ninput: {shape: [4]}\nloss: sum\noptimizers: [sgd]\nbatch_sizes: [8]\n"
    )
    adam = Override(flag=Flag.OPTIMIZER, text="adam")
    found = {}
    for loaded in (load(folder / "ties.yaml"), load(CONFIGS / "resnet18.yaml", [adam])):
        with open_session(loaded, phantom_device(find_gpu("t4"))) as session:
            point = loaded.config.points()[0]
            explained = explain_point(session, point)
            found[loaded.config.name] = find_address_spread(session, point, explained.record)
            reading = explained.record.reading
            assert reading is not None
            plain = found[loaded.config.name].runs[0]
            assert (plain.allocated_bytes, plain.reserved_bytes) == (
                reading.peak_allocated_bytes,
                reading.peak_reserved_bytes,
            )
    return found


@pytest.mark.parametrize("name", ["ties", "resnet18"])
@pytest.mark.parametrize("figure", FIGURES)
def test_the_spread_contains_the_plain_figure(name: str, figure: str, bars: dict[str, AddressSpread]) -> None:
    bar = bars[name]
    spread, acted_out, plain = bar.spread(figure), bar.acted_out_spread(figure), getattr(bar.runs[0], f"{figure}_bytes")
    assert spread is not None
    assert acted_out is not None
    assert spread.lowest_bytes <= plain <= spread.highest_bytes
    assert acted_out.lowest_bytes <= plain <= acted_out.highest_bytes
    assert [run.policy for run in bar.runs] == [run.policy for run in bar.acted_out] == list(AddressPolicy)


@pytest.mark.parametrize("name", ["ties", "resnet18"])
def test_requested_is_one_number(name: str, bars: dict[str, AddressSpread]) -> None:
    bar = bars[name]
    assert len({run.requested_bytes for run in (*bar.runs, *bar.acted_out)}) == 1


def test_the_installed_torch_spreads_as_its_rule_for_ties_says(bars: dict[str, AddressSpread]) -> None:
    """From 2.12 on the oldest segment wins, wherever it lies; before, the lowest address."""
    bar = bars["ties"]
    spreads = {figure: bar.spread(figure) for figure in FIGURES}
    acted_out = {figure: bar.acted_out_spread(figure) for figure in FIGURES}
    if torch_is_at_least(2, 12):
        assert {spread.bytes for spread in spreads.values() if spread} == {0}
    else:
        assert spreads == acted_out
    assert acted_out["reserved"] is not None
    assert 76 * MIB <= acted_out["reserved"].bytes <= 96 * MIB  # a workspace may take what is left free of 96


def test_acting_out_the_order_that_torch_keeps_to_is_the_plain_run(bars: dict[str, AddressSpread]) -> None:
    """Where ties go to the oldest segment, that is the order of ascending addresses."""
    kept = AddressPolicy.ASCENDING if torch_is_at_least(2, 12) else AddressPolicy.DRIVER
    for bar in bars.values():
        assert replace(bar.runs[0], policy=kept) in bar.acted_out


def test_addresses_have_no_part_where_there_are_no_ties() -> None:
    sizes = [30 * MIB, 7 * MIB, 512, ~1, ~0, 12 * MIB]
    assert len({simulate(sizes, None, addresses=policy) for policy in AddressPolicy}) == 1
