"""Where in the program a block was asked for, from the stack that the allocator kept with the event.

PyTorch puts the C++ and the Python frames of a stack into one list, the innermost first. Three things are read from it:
the operator (`at::_ops::NAME::call`), the node of the backward pass, and the line of Python. Whether the block holds a
tensor shows too: every tensor's memory is asked for by `at::detail::empty_*`, by a resize or by a storage made by hand.
What is asked for otherwise is workspace of a library or a kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
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
# Installed code that asks on somebody's behalf: PyTorch's, the standard library's, memprof's but for its models.
_PACKAGE = re.escape(str(Path(__file__).parents[1]))
_BETWEEN = re.compile(
    r"[/\\]torch[/\\]|^<|[/\\]lib[/\\]python\d[.\d]*[/\\](?!site-packages)"
    rf"|^{_PACKAGE}[/\\](?!workload[/\\]builtin)"
)


class Origin(StrEnum):
    """What kind of code asked for a block."""

    TENSOR = "tensor"
    CUBLAS = "cublas"
    CUBLASLT = "cublaslt"
    CUDNN = "cudnn"
    WORKSPACE = "workspace"  # another library's, or a kernel's own
    UNKNOWN = "unknown"  # the stack has no C++ frames


_ORIGINS = (
    (_CUBLASLT, Origin.CUBLASLT),
    (_CUBLAS, Origin.CUBLAS),
    (_TENSOR, Origin.TENSOR),
    (_CUDNN, Origin.CUDNN),
)


@dataclass(frozen=True)
class Site:
    """One place that asks for memory: all events with the same stack share it."""

    origin: Origin
    operator: str | None  # the outermost, which is the one that the program called
    inner_operator: str | None
    node: str | None  # of the backward pass
    in_backward: bool
    line: str | None  # file:line of the user's code, else of the library that is nearest to it
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
        self._by_list: dict[int, int] = {}
        self._held: list[Any] = []

    def __len__(self) -> int:
        return len(self._sites)

    def __getitem__(self, number: Any) -> Any:
        return UNKNOWN_SITE if number == -1 else self._sites[number]

    def index_of(self, frames: Sequence[Frame] | None) -> int:
        """Return the number of the site of a stack; -1 where there is none.

        PyTorch hands out a frame as the same dictionary in each stack that it is in, so stacks are told apart by
        identities, until `forget_frames`.
        """
        if not frames:
            return -1
        known = self._by_list.get(id(frames))
        if known is None:
            known = self._by_list[id(frames)] = self._index_of_new(frames)
            self._held.append(frames)
        return known

    def forget_frames(self) -> None:
        """Let go of the dictionaries whose identities were compared; the sites stay."""
        self._by_frames.clear()
        self._by_list.clear()
        self._held.clear()

    def _index_of_new(self, frames: Sequence[Frame]) -> int:
        key = tuple(map(id, frames))
        if key not in self._by_frames:
            self._by_frames[key] = self._number(read_site(frames))
        return self._by_frames[key]

    def _number(self, site: Site) -> int:
        if site not in self._numbers:
            self._numbers[site] = len(self._sites)
            self._sites.append(site)
        return self._numbers[site]


def read_site(frames: Sequence[Frame]) -> Site:
    """Return what a stack says about the code that asked for a block."""
    stack = _Stack(frames)
    operators = [found[1] for name in stack.native if (found := _OPERATOR.search(name))]
    nodes = [found[1] for name in stack.native if (found := _NODE.search(name))]
    caller = stack.caller
    return Site(
        origin=stack.origin,
        operator=operators[-1] if operators else None,
        inner_operator=operators[0] if operators else None,
        node=nodes[0] if nodes else None,
        in_backward=any(_ENGINE in name for name in stack.native),
        line=f"{caller['filename']}:{caller['line']}" if caller else None,
        function=caller["name"] if caller else None,
    )


class _Stack:
    def __init__(self, frames: Sequence[Frame]) -> None:
        self.python = [frame for frame in frames if _PYTHON_FILE.search(str(frame.get("filename", "")))]
        self.native = [str(frame["name"]) for frame in frames if frame not in self.python]

    @property
    def origin(self) -> Origin:
        if not any("::" in name for name in self.native):
            return Origin.UNKNOWN
        for pattern, origin in _ORIGINS:
            if any(pattern.search(name) for name in self.native):
                return origin
        return Origin.WORKSPACE

    @cached_property
    def caller(self) -> Frame | None:
        """The innermost frame of Python that is not PyTorch's, memprof's or the standard library's."""
        return next((frame for frame in self.python if not _BETWEEN.search(str(frame["filename"]))), None)
