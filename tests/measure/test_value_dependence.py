"""Counting the unknown values that a model reads on a phantom."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

SCRIPT = """
import json, torch
from memprof.measure.recorder import Recorder
from memprof.records import Phase

def count(model, phase=Phase.FORWARD):
    recorder = Recorder(torch.device("cuda", 0), None)
    with recorder.step(), recorder.phase(phase):
        model()
    reading = recorder.reading()
    return [reading.zeros_read, reading.value_dependent]

known, unknown = torch.tensor([1, 0, 2]).cuda(), torch.randn(3, device="cuda")
print(json.dumps({
    "nonzero": count(lambda: unknown.nonzero()),
    "mask": count(lambda: unknown[unknown > 0]),
    "item": count(lambda: [unknown.sum().item() for _ in range(5)], Phase.LOSS),
    "known": count(lambda: (known == 1).any().item()),
    "none": count(lambda: unknown * 2),
    "optimizer": count(lambda: unknown.sum().item(), Phase.OPTIMIZER),
}))
"""


def test_unknown_values_that_the_model_reads_are_counted(run_on_phantom: Callable[..., Any]) -> None:
    done = run_on_phantom(SCRIPT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["nonzero"] == [1, True]
    assert found["mask"] == [1, True]
    assert found["item"] == [5, True]
    for name in ("known", "none", "optimizer"):
        assert found[name] == [0, False], name
