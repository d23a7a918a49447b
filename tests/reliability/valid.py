"""What the fuzzer starts from: valid inputs, and the commands, options and variables of memprof."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SNAPSHOT: dict[str, Any] = {
    "segments": [
        {
            "device": 0, "address": 1 << 40, "total_size": 2 << 20, "allocated_size": 512, "active_size": 512,
            "requested_size": 400, "stream": 0, "segment_type": "small", "is_expandable": False, "frames": [],
            "blocks": [
                {"address": 1 << 40, "size": 512, "requested_size": 400, "state": "active_allocated", "frames": []},
            ],
        }
    ],
    "device_traces": [
        [
            {"action": "segment_alloc", "addr": 1 << 40, "size": 2 << 20, "stream": 0, "frames": []},
            {"action": "alloc", "addr": 1 << 40, "size": 400, "stream": 0, "frames": [
                {"name": "at::_ops::mm::call(at::Tensor const&)", "filename": "x.cpp", "line": 1}]},
        ]
    ],
    "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "expandable_segments": False, "max_split_size": -1},
    "external_annotations": [],
}  # fmt: skip
CATALOG = """[gpus.my-card]
name = "My GPU"
architecture = "ampere"
compute_capability = "8.6"
multiprocessors = 28
total_bytes = 12884901888
l2_cache_bytes = 3145728
context_bytes = 300000000
clock_khz = 1777000
memory_clock_khz = 7501000
memory_bus_bits = 192
assumed = ["context_bytes"]
sources = ["a data sheet"]
"""
DOCUMENT: dict[str, Any] = {
    "schema_version": 2,
    "result": [{"gpu": "t4", "source": "emulated", "largest_batch_size": 4}],
}

COMMANDS = ("sweep", "compare", "max-batch", "fit", "explain", "plot", "report", "show", "diff", "check")
OPTIONS = (
    *("--gpu", "--batch-size", "--set", "--output-dir", "--memory", "--json", "--depth", "-o", "--kind", "--vary"),
    *("--max-increase", "--baseline", "--theme", "--force", "--timeout", "--start", "--optimizer", "-x"),
    *("--nope", "--require", "--snapshot", "--snapshot", "--blocks", "--spread"),
)

# Commands that need no GPU, or refuse one before they measure. RESULT is the folder of a saved result.
QUICK_COMMANDS = (
    ["gpus"],
    ["gpus", "--json"],
    ["show", "RESULT"],
    ["plot", "RESULT", "--terminal"],
    ["schema"],
    ["serve", "--status"],
    ["sweep", "absent.yaml"],
    ["max-batch", "absent.yaml", "--gpu", "t4"],
)
# The variables that memprof reads, with values that have a meaning.
VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "MEMPROF_CACHE_DIR": ("/dev/null", "/proc", "relative"),
        "MEMPROF_CONFIG_DIR": ("/dev/null", "/proc", "relative"),
        "MEMPROF_FORK_SERVER": ("off", "start"),
        "MEMPROF_PHANTOM": ("name=x", "devices=0"),
        "MEMPROF_PHANTOM_ADDRESSES": ("driver", "up"),
        "XDG_RUNTIME_DIR": ("/dev/null", "/proc", "relative"),
        "CC": ("false", "true", '"'),
        "CUDA_VISIBLE_DEVICES": ("-1", "0,0", "GPU-x"),
        "COLUMNS": ("0", "1", "1000000"),
        "NO_COLOR": ("1",),
        "TERM": ("dumb",),
        "PYTORCH_CUDA_ALLOC_CONF": ("backend:none", "x:y"),
    }
)
