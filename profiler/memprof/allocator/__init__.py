"""What PyTorch's caching allocator did, event by event, and the blocks that followed from it. Free of torch.

The source is the allocator's own history, `torch.cuda.memory._record_memory_history`, as
`torch.cuda.memory._snapshot` hands it out: a dictionary that a pickle keeps as well as a running process.
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
