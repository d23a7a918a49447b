"""Random work for PyTorch's own allocator: the replay of its history gives its counters and each block's length."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SETTINGS = (
    "",
    "expandable_segments:True",
    "max_split_size_mb:24",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:[1:2,4:8,16:1,>:4]",
)

_SCRIPT = """
import json, os, random
import torch
import memprof.measure.allocator_history as histories
from memprof.allocator import replay
from memprof.allocator.initial_state import segments_before

SETTINGS = <settings>
MIB = 2**20


class Work:
    '''Tensors of many sizes on three streams, in a pool of their own now and then, some used by another stream.'''

    def __init__(self, seed):
        self.numbers, self.alive = random.Random(seed), []
        self.streams = [torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.Stream()]
        self.pool = torch.cuda.MemPool()

    def size(self):
        return int(2 ** self.numbers.uniform(0, 25.5))

    def step(self):
        chance = self.numbers.random()
        if chance < 0.52 or not self.alive:
            with torch.cuda.stream(self.numbers.choice(self.streams)):
                if chance < 0.05:
                    with torch.cuda.use_mem_pool(self.pool):
                        self.make()
                else:
                    self.make()
        elif chance < 0.55:
            self.numbers.choice(self.alive).record_stream(self.numbers.choice(self.streams))
        elif chance < 0.56:
            torch.cuda.empty_cache()
        elif chance < 0.57:
            try:
                torch.empty(2**40, dtype=torch.uint8, device="cuda")
            except torch.OutOfMemoryError:
                pass
        else:
            self.alive.pop(self.numbers.randrange(len(self.alive)))

    def make(self):
        self.alive.append(torch.empty(self.size(), dtype=torch.uint8, device="cuda"))


def blocks(segments):
    return sorted(
        [block["address"], block["size"], block["requested_size"]]
        for segment in segments for block in segment["blocks"] if block["state"] == "active_allocated"
    )


def run(seed, steps_before, whole):
    work = Work(seed)
    for _ in range(steps_before):
        work.step()
    torch.cuda.reset_peak_memory_stats()
    history = histories.History(torch.device("cuda", 0), whole=whole)
    history.start()
    seen = []
    for number in range(1200):
        work.step()
        if number % 40 == 0:
            work.make()  # so that what the allocator reserves belongs to a request
            seen.append([history.position(), torch.cuda.memory_allocated(), torch.cuda.memory_reserved()])
    snapshot = history.stop()
    stats = torch.cuda.memory_stats()
    found = replay(history.trace, history.segments)
    instants = [found.instant(position) for position, _, _ in seen]
    alive = [found.allocations[index] for index in found.alive_at(len(found.requests))]
    return {
        "rules": [history.trace.rules.expandable_segments, history.trace.rules.max_split_bytes],
        "before": len(history.segments),
        "retries": stats["num_ooms"],
        "requests": len(found.requests),
        "position": history.position(),
        "seen": seen,
        "replayed": [[i.position, i.allocated_bytes, i.reserved_bytes] for i in instants],
        "peaks": [stats["allocated_bytes.all.peak"], stats["reserved_bytes.all.peak"]],
        "replayed_peaks": [found.peak.allocated_bytes, found.peak_reserved_bytes],
        "requested": stats["requested_bytes.all.current"],
        "blocks": blocks(snapshot["segments"]),
        "replayed_blocks": sorted([a.address, a.block_bytes, a.requested_bytes] for a in alive),
        "ranges_before": sorted([s["address"], s["total_size"]] for s in history.segments),
        "blocks_before": blocks(history.segments),
        **(worked_out(snapshot, history.trace) if whole else {}),
    }


def worked_out(snapshot, trace):
    segments = segments_before(snapshot, trace)
    return {
        "worked_out_ranges": [[s["address"], s["total_size"]] for s in segments],
        "worked_out_blocks": blocks(segments),
    }


histories._PIECE = 150  # many pieces
for setting in SETTINGS:
    for seed, (steps_before, whole) in enumerate([(0, False), (400, False), (400, True)]):
        if os.fork():
            os.wait()
            continue
        for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
            os.environ[name] = setting
        print(json.dumps({"setting": setting, "whole": whole, **run(seed, steps_before, whole)}), flush=True)
        os._exit(0)
"""


@pytest.fixture(scope="module")
def runs(run_on_phantom: Run) -> list[dict[str, Any]]:
    """For each setting: a history from the start, one from the middle on in pieces, and the same in one piece."""
    done = run_on_phantom(_SCRIPT.replace("<settings>", repr(SETTINGS)))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 3 * len(SETTINGS), done.stderr
    return found


def test_random_work_covers_all_settings(runs: list[dict[str, Any]]) -> None:
    assert {run["setting"] for run in runs if run["rules"][0]} == {"expandable_segments:True"}
    assert {run["setting"] for run in runs if run["rules"][1] is not None} == {"max_split_size_mb:24"}
    assert all(run["retries"] > 0 and run["requests"] > 700 for run in runs)
    assert [bool(run["before"]) for run in runs] == [False, True, True] * len(SETTINGS)


def test_replay_totals_equal_the_counters_at_any_moment(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert run["replayed"] == run["seen"], run["setting"]
        assert run["requests"] == run["position"]


def test_replay_peaks_equal_the_counters(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert run["replayed_peaks"] == run["peaks"], run["setting"]


def test_replay_block_lengths_equal_the_allocators(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert run["replayed_blocks"] == run["blocks"], run["setting"]
        assert sum(requested for _, _, requested in run["replayed_blocks"]) == run["requested"]


def test_segments_before_equal_those_at_the_start(runs: list[dict[str, Any]]) -> None:
    for run in (run for run in runs if run["whole"]):
        ranges, worked_out = run["ranges_before"], run["worked_out_ranges"]
        assert sum(size for _, size in worked_out) == sum(size for _, size in ranges)
        if "expandable" not in run["setting"]:  # whose parts a snapshot joins
            assert worked_out == ranges, run["setting"]
        found, there = run["worked_out_blocks"], run["blocks_before"]
        assert [[address, requested] for address, _, requested in found] == [[a, r] for a, _, r in there]
        # The length of a block that was freed before the end is sometimes unknown; the assumed one holds the request.
        same = sum(block == other for block, other in zip(found, there, strict=True))
        assert same >= 0.9 * len(there)
