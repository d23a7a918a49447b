"""PyTorch's caching allocator: its recorded history, the replay of it, and a simulation. Imports no torch.

The source is the allocator's own history, `torch.cuda.memory._record_memory_history`, in the form that
`torch.cuda.memory._snapshot` returns: a dictionary, which may also come from a pickle.
"""

from memprof.allocator.history import Action, Event, SnapshotError, Trace
from memprof.allocator.replay import PREEXISTING, Allocation, Instant, Replay, replay
from memprof.allocator.rules import AllocatorRules
from memprof.allocator.stacks import Origin, Site

__all__ = [
    "PREEXISTING",
    "Action",
    "Allocation",
    "AllocatorRules",
    "Event",
    "Instant",
    "Origin",
    "Replay",
    "Site",
    "SnapshotError",
    "Trace",
    "replay",
]
