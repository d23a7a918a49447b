"""Records and manifests as JSON, each with the version of its schema; another schema is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION, Environment, RunRecord

T = TypeVar("T")
_UPGRADE = "upgrade with: pip install --upgrade memprof-gpu"


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def utc_now() -> str:
    """Return the time in UTC to the second, as ISO 8601 writes it: ``2026-11-22T01:42:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kind(StrEnum):
    """What a folder holds, by the command that made it: rows, which come one by one, or one document."""

    SWEEP = "sweep"
    COMPARE = "compare"
    MAX_BATCH = "max-batch"
    EXPLAIN = "explain"

    @property
    def noun(self) -> str:
        """The kind in words, with its article."""
        return _NOUNS[self]


_NOUNS = {
    Kind.SWEEP: "a sweep",
    Kind.COMPARE: "a comparison",
    Kind.MAX_BATCH: "a max-batch answer",
    Kind.EXPLAIN: "an explanation",
}
ROW_KINDS = (Kind.SWEEP, Kind.COMPARE)


@dataclass(frozen=True, kw_only=True)
class VariantPlan:
    """One variant of a comparison. `group` and `name` are where and how it stands in the table."""

    label: str  # what tells it from the base
    group: str
    name: str
    settings: dict[str, str]  # the varied knobs at their values
    config: dict[str, Any]  # the whole resolved config, as JSON holds it


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a folder's rows or document belong to. `config` is the whole resolved config, as JSON holds it.

    `variants` are those of a comparison, the base first; its rows stand in their order.
    """

    name: str
    fingerprint: str
    config: dict[str, Any]
    environment: Environment
    command: tuple[str, ...]
    points_planned: int
    started: str = field(default_factory=utc_now)
    finished: str | None = None
    complete: bool = False
    kind: Kind = Kind.SWEEP
    variants: tuple[VariantPlan, ...] = ()
    schema_version: int = SCHEMA_VERSION


def fingerprint(config: Mapping[str, Any], environment: Environment, model_source: str = "") -> str:
    """Return a hash of all that the numbers depend on; only a sweep with the same one may be resumed.

    `model_source` is the text of the user's own model file, so that an edited model starts afresh.
    """
    versions = (environment.memprof_version, environment.torch_version, environment.cudnn_version)
    device = (environment.gpu, environment.source, environment.allocator_settings)
    text = json.dumps([config, device, versions, model_source], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def to_line(record: RunRecord) -> str:
    """Return the record as one line of JSON that carries the version of its schema."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(record)}, ensure_ascii=False)


def from_line(line: str, where: str = "record") -> RunRecord:
    """Return the record in a line that `to_line` wrote; `where` names the line in a refusal.

    Raises:
        ResultError: the line is no record, or it has another schema.
    """
    return parse(line, RunRecord, where)


def parse(text: str, kind: type[T], where: str) -> T:
    """Return the record or manifest in `text`, or refuse it with `where` and the first thing wrong."""
    try:
        fields = json.loads(text)
        version = fields["schema_version"]
        if version == SCHEMA_VERSION or not isinstance(version, int):
            key: Any = kind  # mypy holds that type[T] cannot be hashed
            parsed: T = _adapter(key).validate_json(text, strict=True)
            return parsed
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ResultError(f"{where}: not a result of memprof: {place}: {first['msg']}") from None
    except (ValueError, TypeError, KeyError):
        raise ResultError(f"{where}: not a result of memprof") from None
    age, remedy = ("a newer", _UPGRADE) if version > SCHEMA_VERSION else ("an older", "run the command again")
    raise ResultError(
        f"{where}: {age} memprof wrote this (schema {version}, this one reads {SCHEMA_VERSION}); {remedy}"
    )
