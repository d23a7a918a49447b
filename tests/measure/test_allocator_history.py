"""The allocator's history: its position, its start and stop, and which backends have one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_SCRIPT = """
import json
import torch
from memprof.measure.allocator_history import History

history = History(torch.device("cuda"))
before = torch._C._cuda_isHistoryEnabled()
history.start()
kept = torch.zeros(1000, device="cuda")
positions = [history.position()]
del kept
positions.append(history.position())
during = torch._C._cuda_isHistoryEnabled()
history.stop()
print(json.dumps([positions, [before, during, torch._C._cuda_isHistoryEnabled()], history.segments]))
"""

_OTHER_BACKEND = """
import torch
from memprof.measure.allocator_history import History
try:
    History(torch.device("cuda")).start()
except Exception as error:
    print(type(error).__name__, error)
"""


def test_history_counts_requests_and_stops(run_on_phantom: Run) -> None:
    done = run_on_phantom(_SCRIPT)
    assert done.returncode == 0, done.stderr
    positions, enabled, segments = json.loads(done.stdout)
    assert positions == [1, 2]
    assert enabled == [False, True, False]
    assert segments == []


def test_history_other_backend_is_refused(run_on_phantom: Run) -> None:
    done = run_on_phantom(_OTHER_BACKEND, PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync")
    assert done.stdout.startswith("WorkloadError")
    assert "cudaMallocAsync records no history, which explaining needs" in done.stdout
