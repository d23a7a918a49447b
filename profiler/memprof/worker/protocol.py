"""What parent, worker server and children say to each other: one JSON object a line, free of torch.

The parent opens with a `Setup`, which the server answers with `Loaded` and then `Ready`, `Refused` or
`CudaTouched`. Then each request has a number, and each gets one reply with that number; several may be under
way at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from memprof.breakdown.explanation import Explanation
from memprof.breakdown.module_summary import ModuleSummary
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.records import Breakdown, Environment, Outcome, Source, Status

Point = tuple[OptimizerConfig | None, int]

SETUP = 0  # the number of the replies to a `Setup`; requests get theirs, from 1 on, when they are sent


@dataclass(frozen=True, kw_only=True)
class Job:
    """One point to measure. What is ``None`` is the sweep's own, so that a job may be of another config or GPU.

    `environment` is set in the job's process before it touches CUDA (``None``: taken away): another phantom GPU,
    allocator settings. `memory_limit_bytes` goes to `torch.cuda.set_per_process_memory_fraction`.
    """

    optimizer: OptimizerConfig | None
    batch_size: int
    config: SweepConfig | None = None
    index: int | None = None  # torch's index of the device
    environment: Mapping[str, str | None] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    steps: int | None = None  # may be fewer than a config may say
    evaluate: bool = False  # one pass in eval mode behind the steps
    note_moves: bool = False  # of the allocator, for `Outcome.moves`


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The sweep and the device that a server works for, sent once."""

    config: SweepConfig
    folder: str
    source: Source
    gpu: str
    index: int
    gpu_total_bytes: int | None
    build_in_server: bool  # one model for all children; False where building it touches CUDA


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Ask for the `Environment`."""

    kind: Literal["describe"] = "describe"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class BreakDown:
    """Ask for the analytic breakdown of all `points`."""

    kind: Literal["break_down"] = "break_down"
    number: int = SETUP
    points: tuple[Point, ...]
    config: SweepConfig | None = None  # the server's own


@dataclass(frozen=True, kw_only=True)
class Summarize:
    """Ask for the summary of the model's modules at one point."""

    kind: Literal["summarize"] = "summarize"
    number: int = SETUP
    point: Point


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Ask for one point on the device."""

    kind: Literal["measure"] = "measure"
    number: int = SETUP
    job: Job


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Ask for one point on the device, its peak taken apart; `snapshot_file` gets the allocator's snapshot."""

    kind: Literal["explain"] = "explain"
    number: int = SETUP
    job: Job
    snapshot_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The server has imported torch; from here on the user's code runs, and the time limit counts."""

    kind: Literal["loaded"] = "loaded"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The server has the model, if it was to build it, and takes requests."""

    kind: Literal["ready"] = "ready"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class CudaTouched:
    """CUDA was initialised before the fork, after which no child can use it."""

    kind: Literal["cuda_touched"] = "cuda_touched"
    number: int


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The user can mend it: `fault` says which kind of `MemprofError` it is."""

    kind: Literal["refused"] = "refused"
    number: int
    fault: Literal["config", "workload", "device"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Described:
    """The answer to `Describe`."""

    kind: Literal["described"] = "described"
    number: int
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class BrokenDown:
    """The answer to `BreakDown`: one breakdown a point, in the order of the points."""

    kind: Literal["broken_down"] = "broken_down"
    number: int
    breakdowns: tuple[Breakdown, ...]


@dataclass(frozen=True, kw_only=True)
class Summarized:
    """The answer to `Summarize`."""

    kind: Literal["summarized"] = "summarized"
    number: int
    summary: ModuleSummary


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The answer to `Measure`."""

    kind: Literal["measured"] = "measured"
    number: int
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class TakenApart:
    """The answer to `Explain`; no explanation where nothing was read."""

    kind: Literal["taken_apart"] = "taken_apart"
    number: int
    outcome: Outcome
    explanation: Explanation | None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A child ended without an answer of its own: killed, crashed or too slow."""

    kind: Literal["ended"] = "ended"
    number: int
    status: Status
    text: str


Request = Describe | BreakDown | Summarize | Measure | Explain
Reply = Loaded | Ready | CudaTouched | Refused | Described | BrokenDown | Summarized | Measured | TakenApart | Ended


def encode(message: Setup | Request | Reply) -> bytes:
    """Return `message` as one line."""
    # Not pydantic's own JSON, which turns the infinities of a config into null.
    plain = TypeAdapter(type(message)).dump_python(message)
    return json.dumps(plain, default=str).encode() + b"\n"


class Decoder:
    """Lines back to messages. The validators are built once, which takes longer than their use."""

    def __init__(self, messages: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(messages)

    def __call__(self, line: bytes) -> Any:
        """Return the message in `line`.

        Raises:
            ValueError: the line is not JSON, or not a message of the expected kinds.
        """
        return self._adapter.validate_python(json.loads(line))


def setup_decoder() -> Decoder:
    """Return the decoder of the server's first line."""
    return Decoder(Setup)


def request_decoder() -> Decoder:
    """Return the decoder of the server's other lines."""
    return Decoder(Annotated[Request, Field(discriminator="kind")])


def reply_decoder() -> Decoder:
    """Return the decoder of the parent's lines."""
    return Decoder(Annotated[Reply, Field(discriminator="kind")])
