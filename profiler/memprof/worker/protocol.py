"""The messages between the parent, the worker server and its children: one JSON object per line. No torch here.

The parent sends a `Setup`. The server replies with `Loaded`, and then with `Ready`, `RequestError` or
`CudaInitialized`. After `Ready` the parent sends requests. Each has a number, and each gets one reply with that number;
several requests may run at the same time. Before its reply, a request may send a `StepStarted` for each of its steps.
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
from memprof.gpus.traits import GpuTraits
from memprof.records import Breakdown, Environment, Outcome, Source, Status

Point = tuple[OptimizerConfig | None, int]

SETUP = 0  # the number of the replies to a `Setup`; a request gets its own number, from 1 on, when it is sent
# Bound before any model is imported: a model that replaces functions of the json module must not break the messages.
_adapters: dict[type, TypeAdapter[Any]] = {}
_INTERIM = b'{"type": "step_started"'
_TO_JSON, _FROM_JSON = json.JSONEncoder(default=str), json.JSONDecoder()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One point to measure, with the server's config and GPU for each field that is ``None``.

    `gpu` is what `choose_device` takes; the client looks it up and fills in the rest. `environment` is set in the job's
    process before it uses CUDA, for example to another size of the phantom or other allocator settings; a variable that
    is ``None`` is removed. `memory_limit_bytes` is set by
    `torch.cuda.set_per_process_memory_fraction`.
    """

    optimizer: OptimizerConfig | None
    batch_size: int
    config: SweepConfig | None = None
    gpu: str | None = None
    index: int | None = None  # PyTorch's index of the device
    environment: Mapping[str, str | None] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    steps: int | None = None  # may be fewer than a config allows
    most_steps: int = 0  # up to which steps follow those, until one does not free the allocator's cache
    evaluate: bool = False  # as with the config's `evaluation`, after the steps
    record_requests: bool = False  # as `Outcome.allocator_requests`


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The config and the device that a server works for; sent once."""

    config: SweepConfig
    folder: str
    source: Source
    gpu: str
    index: int
    gpu_total_bytes: int | None
    traits: GpuTraits  # of the GPU; without a GPU, of the one that the estimate is for
    build_in_server: bool  # one model for all children; False if building it initializes CUDA
    report_steps: bool = False  # send a `StepStarted` for each step


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
    traits: GpuTraits | None = None  # of the server's GPU
    with_peaks: bool = True


@dataclass(frozen=True, kw_only=True)
class SummarizeRequest:
    """Ask for the summary of the model's modules at one point, from shapes alone."""

    type: Literal["summarize"] = "summarize"
    number: int = SETUP
    point: Point


@dataclass(frozen=True, kw_only=True)
class MeasureRequest:
    """Ask for the outcome of one point on the device."""

    type: Literal["measure"] = "measure"
    number: int = SETUP
    job: Job


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """Ask for one point on the device and what its peak consists of; `snapshot_file` gets the allocator's snapshot."""

    type: Literal["explain"] = "explain"
    number: int = SETUP
    job: Job
    snapshot_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The server has imported PyTorch. The user's code runs next, so the time limit starts."""

    type: Literal["loaded"] = "loaded"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The server accepts requests; it has built the model if `Setup.build_in_server` asked for that."""

    type: Literal["ready"] = "ready"
    number: int = SETUP


@dataclass(frozen=True, kw_only=True)
class CudaInitialized:
    """CUDA was initialized before the fork, so no child can use it."""

    type: Literal["cuda_initialized"] = "cuda_initialized"
    number: int


@dataclass(frozen=True, kw_only=True)
class RequestError:
    """A user-correctable error. `kind` selects the `MemprofError` that the parent raises."""

    type: Literal["request_error"] = "request_error"
    number: int
    kind: Literal["config", "workload", "device"]
    text: str


@dataclass(frozen=True, kw_only=True)
class DescribeReply:
    """The reply to `DescribeRequest`."""

    type: Literal["describe_reply"] = "describe_reply"
    number: int
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class BreakdownReply:
    """The reply to `BreakdownRequest`: one breakdown for each point, in the order of the points."""

    type: Literal["breakdown_reply"] = "breakdown_reply"
    number: int
    breakdowns: tuple[Breakdown, ...]


@dataclass(frozen=True, kw_only=True)
class SummarizeReply:
    """The reply to `SummarizeRequest`."""

    type: Literal["summarize_reply"] = "summarize_reply"
    number: int
    summary: ModuleSummary


@dataclass(frozen=True, kw_only=True)
class StepStarted:
    """A step of a request begins, the first one is 1. It is no reply: more messages follow."""

    type: Literal["step_started"] = "step_started"
    number: int
    batch_size: int
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class MeasureReply:
    """The reply to `MeasureRequest`."""

    type: Literal["measure_reply"] = "measure_reply"
    number: int
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class ExplainReply:
    """The reply to `ExplainRequest`; without an explanation if nothing was read."""

    type: Literal["explain_reply"] = "explain_reply"
    number: int
    outcome: Outcome
    explanation: Explanation | None


@dataclass(frozen=True, kw_only=True)
class ChildExited:
    """A child ended without a reply: it was killed, crashed, exited or took too long."""

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
    | StepStarted
    | MeasureReply
    | ExplainReply
    | ChildExited
)


def encode(message: Setup | Request | Reply) -> bytes:
    """Return `message` as one line."""
    # Not pydantic's own JSON, which turns the infinities of a config into null.
    plain = _adapter(type(message)).dump_python(message)
    return _TO_JSON.encode(plain).encode() + b"\n"


def is_interim(line: bytes | bytearray) -> bool:
    """Say whether a line, or its beginning, is a message before the reply."""
    return line.startswith(_INTERIM)


def _adapter(kind: type) -> TypeAdapter[Any]:
    """Return the serializer of one kind of message; to build it takes longer than to use it."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def prepare_messages() -> None:
    """Build what `encode` needs for the messages of children, so that no child has to."""
    for kind in (StepStarted, MeasureReply, BreakdownReply, DescribeReply):
        _adapter(kind)


class Decoder:
    """Turns lines into messages. It builds the validators once, since that takes longer than to use them."""

    def __init__(self, messages: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(messages)

    def __call__(self, line: bytes) -> Any:
        """Return the message in `line`.

        Raises:
            ValueError: the line is not JSON, or not a message of the expected types.
        """
        return self._adapter.validate_python(_FROM_JSON.decode(line.decode()))


def setup_decoder() -> Decoder:
    """Return the decoder of the first line that the server receives."""
    return Decoder(Setup)


def request_decoder() -> Decoder:
    """Return the decoder of the other lines that the server receives."""
    return Decoder(Annotated[Request, Field(discriminator="type")])


def reply_decoder() -> Decoder:
    """Return the decoder of the lines that the parent receives."""
    return Decoder(Annotated[Reply, Field(discriminator="type")])
