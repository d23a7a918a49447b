"""Find where the program allocates a block, from the stack that the allocator recorded with the event.

PyTorch puts the C++ and the Python frames of a stack into one list, the innermost first. It shows three things: the
operator (`at::_ops::NAME::call`), the node of the backward pass, and the line of Python. It also shows whether the
block holds a tensor: a tensor's memory is allocated by `at::detail::empty_*`, by a resize, or by a storage made by
hand. All other blocks are the workspace of a library or a kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

Frame = Mapping[str, Any]

_OPERATOR = re.compile(r"at::_ops::(\w+)::(?:call|redispatch)")
_NODE = re.compile(r"torch::autograd::(?:generated::)?(\w+)::apply\(")
_ENGINE = "torch::autograd::Engine::"
_TENSOR = re.compile(r"at::detail::empty_|resize_bytes_cuda|make_storage_impl|StorageImpl::StorageImpl|THPStorage")
_CUBLASLT = re.compile(r"CUDABlasLt|cublasLt")
_CUBLAS = re.compile(r"CUDABlas|[Cc]ublas\w*Workspace|getNewWorkspace")
_CUDNN = re.compile(r"cudnn|miopen|convolution|::conv\d|::conv_")
_PYTHON_FILE = re.compile(r"\.py$|^<")
# Installed code that allocates for its caller: PyTorch's, the standard library's, and memprof's except its models.
_PACKAGE = re.escape(str(Path(__file__).parents[1]))
_BETWEEN = re.compile(
    r"[/\\](?:site-packages|dist-packages|pytorch)[/\\]torch[/\\]|^<"
    r"|[/\\]lib[/\\]python\d[.\d]*[/\\](?!site-packages|dist-packages)"
    rf"|^{_PACKAGE}[/\\](?!workload[/\\]builtin)"
)


class Origin(StrEnum):
    """The kind of code that allocates a block."""

    TENSOR = "tensor"
    CUBLAS = "cublas"
    CUBLASLT = "cublaslt"
    CUDNN = "cudnn"
    WORKSPACE = "workspace"  # of another library or of a kernel
    UNKNOWN = "unknown"  # the stack has no C++ frames


_ORIGINS = (
    (_CUBLASLT, Origin.CUBLASLT),
    (_CUBLAS, Origin.CUBLAS),
    (_TENSOR, Origin.TENSOR),
    (_CUDNN, Origin.CUDNN),
)


@dataclass(frozen=True)
class Site:
    """One place that allocates memory: all events with the same stack share it."""

    origin: Origin
    operator: str | None  # the outermost, which the program called
    inner_operator: str | None
    node: str | None  # of the backward pass
    in_backward: bool
    line: str | None  # file:line of the innermost code that is not PyTorch's, Python's or memprof's
    function: str | None


UNKNOWN_SITE = Site(
    origin=Origin.UNKNOWN, operator=None, inner_operator=None, node=None, in_backward=False, line=None, function=None
)


class SiteTable(Sequence[Site]):
    """The sites of a trace, each once."""

    def __init__(self) -> None:
        self._sites: list[Site] = []
        self._numbers: dict[Site, int] = {}
        self._by_frames: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._sites)

    def __getitem__(self, number: Any) -> Any:
        return UNKNOWN_SITE if number == -1 else self._sites[number]

    def index_of(self, frames: Sequence[Frame] | None) -> int:
        """Return the number of the site of a stack; -1 if there is no stack.

        PyTorch returns a frame as the same dictionary in each stack that has it, so stacks are compared by identity.
        The caller must keep those dictionaries until `forget_frames`.
        """
        if not frames:
            return -1
        key = tuple(map(id, frames))
        if key not in self._by_frames:
            self._by_frames[key] = self._number(read_site(frames))
        return self._by_frames[key]

    def forget_frames(self) -> None:
        """Forget the dictionaries so far; the sites stay."""
        self._by_frames.clear()

    def _number(self, site: Site) -> int:
        if site not in self._numbers:
            self._numbers[site] = len(self._sites)
            self._sites.append(site)
        return self._numbers[site]


def read_site(frames: Sequence[Frame]) -> Site:
    """Return what a stack says about the code that allocates a block."""
    parts = [_part(str(frame["name"]), str(frame.get("filename", ""))) for frame in frames]
    operators = [part.operator for part in parts if part.operator]
    caller = next((frame for frame, part in zip(frames, parts, strict=True) if part.is_users), None)
    return Site(
        origin=_origin(parts),
        operator=operators[-1] if operators else None,
        inner_operator=operators[0] if operators else None,
        node=next((part.node for part in parts if part.node), None),
        in_backward=any(part.is_engine for part in parts),
        line=f"{caller['filename']}:{caller['line']}" if caller else None,
        function=caller["name"] if caller else None,
    )


@dataclass(frozen=True)
class _Part:
    """What one frame shows."""

    is_users: bool = False  # a line of Python that is not PyTorch's, memprof's or the standard library's
    is_native: bool = False
    is_engine: bool = False
    operator: str | None = None
    node: str | None = None
    origin: Origin | None = None


@lru_cache(maxsize=65536)
def _part(name: str, filename: str) -> _Part:
    if _PYTHON_FILE.search(filename):
        return _Part(is_users=not _BETWEEN.search(filename))
    operator, node = _OPERATOR.search(name), _NODE.search(name)
    return _Part(
        is_native="::" in name,
        is_engine=_ENGINE in name,
        operator=operator[1] if operator else None,
        node=node[1] if node else None,
        origin=next((origin for pattern, origin in _ORIGINS if pattern.search(name)), None),
    )


def _origin(parts: Sequence[_Part]) -> Origin:
    """The first of `_ORIGINS` that a frame within the innermost operator shows; the frames around it only call it."""
    if not any(part.is_native for part in parts):
        return Origin.UNKNOWN
    shown = {part.origin for part in takewhile(lambda part: part.operator is None, parts)}
    return next((origin for _, origin in _ORIGINS if origin in shown), Origin.WORKSPACE)
