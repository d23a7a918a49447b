"""Values of CUDA_VISIBLE_DEVICES, and which of three GPUs each shows; `{0}` is the UUID of the first GPU.

Sources: the CUDA Programming Guide, CUDA Environment Variables, and for what it does not say PyTorch's own parser
(`torch.cuda._parse_visible_devices`).
"""

from __future__ import annotations

from collections.abc import Sequence

SHOWN_OF_THREE: Sequence[tuple[str | None, Sequence[int]]] = (
    (None, [0, 1, 2]),
    ("0", [0]),
    ("1", [1]),
    ("0,1,2", [0, 1, 2]),
    ("2,0", [2, 0]),
    (" 1 , 2 ", [1, 2]),
    ("+1", [1]),
    ("1gpu,2nd", [1, 2]),
    ("", []),
    ("-1", []),
    ("5", []),
    ("none", []),
    ("0,", [0]),
    (",0", []),
    ("0,-1,1", [0]),
    ("0,7,1", [0]),
    ("0,{1}", [0]),
    ("1,1", []),
    ("0,2,0", []),
    ("{1}", [1]),
    ("{2},{0}", [2, 0]),
    ("{2},0", [2]),
    ("{1},{1}", []),
    ("{0},GPU-00000000,{1}", [0]),
    ("GPU-", []),
    ("MIG-{0}", []),
)
