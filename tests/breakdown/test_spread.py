"""The spread of a point: orders of addresses that differ by a known amount, streams and compile caches on phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import simulate
from memprof.breakdown.spread import FIGURES, PointSpread, SpreadRun, simulate_orders
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.experiments.explain import explain_point, find_spread
from memprof.experiments.session import open_session
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Status
from memprof.units import MIB
from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS

# Two free blocks of one size in two segments: the choice between them decides whether the neighbours of the other can
# be merged. The numbers are MiB, as in `requests`.
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
    """Return requests: each step allocates so many MiB under a name, or frees that name."""
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


def figures(runs: Sequence[SpreadRun], name: str) -> dict[str, float]:
    return {run.setting: getattr(run, f"{name}_bytes") / MIB for run in runs}


def test_simulate_orders_lower_address_decides_reserved() -> None:
    reserved = figures(simulate_orders(RESERVED, None), "reserved")
    assert reserved[AddressPolicy.ASCENDING] == 48 + 96
    assert reserved[AddressPolicy.DESCENDING] == 48 + 96 + 96


def test_simulate_orders_lower_address_decides_allocated() -> None:
    runs = simulate_orders(ALLOCATED, None)
    allocated = figures(runs, "allocated")
    assert allocated[AddressPolicy.ASCENDING] == 12 + 160 + 11.5
    assert allocated[AddressPolicy.DESCENDING] == 12 + 160 + 12  # a remainder of half a MiB stays attached
    assert set(figures(runs, "requested").values()) == {12 + 160 + 11.5}


def test_spread_is_highest_minus_lowest() -> None:
    runs = simulate_orders(RESERVED, None)
    spread = PointSpread(runs=runs, simulated=()).spread("reserved")
    assert spread is not None
    assert (spread.lowest_bytes, spread.highest_bytes, spread.bytes) == (144 * MIB, 240 * MIB, 96 * MIB)


def test_spread_omits_runs_that_ended_differently() -> None:
    runs = simulate_orders(RESERVED, 150 * MIB)
    assert runs[0].status is Status.OK
    explored = PointSpread(runs=runs[:1], simulated=runs)
    assert {run.setting for run in explored.ended_differently} >= {"descending"}
    spread = explored.simulated_spread("reserved")
    assert spread is not None
    assert spread.highest_bytes == 144 * MIB


def test_spread_without_readings_is_none() -> None:
    nothing = SpreadRun(
        setting="ascending",
        status=Status.ERROR,
        requested_bytes=None,
        allocated_bytes=None,
        reserved_bytes=None,
    )
    assert PointSpread(runs=(nothing,), simulated=()).spread("reserved") is None


@pytest.fixture(scope="module")
def spreads(phantom_device_h100: Device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PointSpread]:
    del phantom_device_h100  # without a phantom these tests are skipped
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
            found[loaded.config.name] = find_spread(session, point, explained.record)
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
def test_spread_contains_figure_of_first_run(name: str, figure: str, spreads: dict[str, PointSpread]) -> None:
    explored = spreads[name]
    spread, simulated, plain = (
        explored.spread(figure),
        explored.simulated_spread(figure),
        getattr(explored.runs[0], f"{figure}_bytes"),
    )
    assert spread is not None
    assert simulated is not None
    assert spread.lowest_bytes <= plain <= spread.highest_bytes
    assert simulated.lowest_bytes <= plain <= simulated.highest_bytes
    assert [run.setting for run in explored.runs] == [run.setting for run in explored.simulated] == list(AddressPolicy)


@pytest.mark.parametrize("name", ["ties", "resnet18"])
def test_spread_of_requested_is_zero(name: str, spreads: dict[str, PointSpread]) -> None:
    explored = spreads[name]
    assert len({run.requested_bytes for run in (*explored.runs, *explored.simulated)}) == 1


def test_spread_follows_tie_rule_of_installed_torch(spreads: dict[str, PointSpread]) -> None:
    """From 2.12 on, ties go to the oldest segment at any address; before, to the lowest address."""
    explored = spreads["ties"]
    by_run = {figure: explored.spread(figure) for figure in FIGURES}
    simulated = {figure: explored.simulated_spread(figure) for figure in FIGURES}
    if torch_is_at_least(2, 12):
        assert {spread.bytes for spread in by_run.values() if spread} == {0}
    else:
        assert by_run == simulated
    assert simulated["reserved"] is not None
    assert 76 * MIB <= simulated["reserved"].bytes <= 96 * MIB  # a workspace may take a part of the free 96


def test_simulate_orders_with_torch_order_equals_run(spreads: dict[str, PointSpread]) -> None:
    """If ties go to the oldest segment, that is the order of ascending addresses."""
    kept = AddressPolicy.ASCENDING if torch_is_at_least(2, 12) else AddressPolicy.DRIVER
    for explored in spreads.values():
        assert replace(explored.runs[0], setting=kept) in explored.simulated


def test_simulate_without_ties_ignores_addresses() -> None:
    sizes = [30 * MIB, 7 * MIB, 512, ~1, ~0, 12 * MIB]
    assert len({simulate(sizes, None, addresses=policy) for policy in AddressPolicy}) == 1
