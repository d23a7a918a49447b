"""What parent, worker server and children say to each other: one JSON object a line, free of torch.

The parent opens with a `Setup`, which the server answers with `Loaded` and then `Ready`, `RequestError` or
`CudaInitialized`. Then each request has a number, and each gets one reply with that number; several may be under
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
    record_requests: bool = False  # keep them as `Outcome.allocator_requests`


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
class DescribeRequest:
    """Ask for the `Environment`."""

    type: Literal["describe"] = "describe"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class BreakdownRequest:
    """Ask for the analytic breakdown of all `points`."""

    type: Literal["breakdown"] = "breakdown"
    number: int = SETUP
    points: tuple[Point, ...]
    config: SweepConfig | None = None  # the server's own


@dataclass(frozen=True, kw_only=True)
class SummarizeRequest:
    """Ask for the summary of the model's modules at one point."""

    type: Literal["summarize"] = "summarize"
    number: int = SETUP
    point: Point


@dataclass(frozen=True, kw_only=True)
class MeasureRequest:
    """Ask for one point on the device."""

    type: Literal["measure"] = "measure"
    number: int = SETUP
    job: Job


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """Ask for one point on the device, its peak taken apart; `snapshot_file` gets the allocator's snapshot."""

    type: Literal["explain"] = "explain"
    number: int = SETUP
    job: Job
    snapshot_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The server has imported torch; from here on the user's code runs, and the time limit counts."""

    type: Literal["loaded"] = "loaded"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The server has the model, if it was to build it, and takes requests."""

    type: Literal["ready"] = "ready"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class CudaInitialized:
    """CUDA was initialised before the fork, after which no child can use it."""

    type: Literal["cuda_initialized"] = "cuda_initialized"
    number: int


@dataclass(frozen=True, kw_only=True)
class RequestError:
    """The user can mend it: `kind` says which kind of `MemprofError` it is."""

    type: Literal["request_error"] = "request_error"
    number: int
    kind: Literal["config", "workload", "device"]
    text: str


@dataclass(frozen=True, kw_only=True)
class DescribeReply:
    """The answer to `DescribeRequest`."""

    type: Literal["describe_reply"] = "describe_reply"
    number: int
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class BreakdownReply:
    """The answer to `BreakdownRequest`: one breakdown a point, in the order of the points."""

    type: Literal["breakdown_reply"] = "breakdown_reply"
    number: int
    breakdowns: tuple[Breakdown, ...]


@dataclass(frozen=True, kw_only=True)
class SummarizeReply:
    """The answer to `SummarizeRequest`."""

    type: Literal["summarize_reply"] = "summarize_reply"
    number: int
    summary: ModuleSummary


@dataclass(frozen=True, kw_only=True)
class MeasureReply:
    """The answer to `MeasureRequest`."""

    type: Literal["measure_reply"] = "measure_reply"
    number: int
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class ExplainReply:
    """The answer to `ExplainRequest`; no explanation where nothing was read."""

    type: Literal["explain_reply"] = "explain_reply"
    number: int
    outcome: Outcome
    explanation: Explanation | None


@dataclass(frozen=True, kw_only=True)
class ChildExited:
    """A child ended without an answer of its own: killed, crashed or too slow."""

    type: Literal["child_exited"] = "child_exited"
    number: int
    status: Status
    text: str


Request = DescribeRequest | BreakdownRequest | SummarizeRequest | MeasureRequest | ExplainRequest
Reply = (
    Loaded
    | Ready
    | CudaInitialized
    | RequestError
    | DescribeReply
    | BreakdownReply
    | SummarizeReply
    | MeasureReply
    | ExplainReply
    | ChildExited
)


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
    return Decoder(Annotated[Request, Field(discriminator="type")])


def reply_decoder() -> Decoder:
    """Return the decoder of the parent's lines."""
    return Decoder(Annotated[Reply, Field(discriminator="type")])
