"""Convert records and manifests to JSON and back; each carries the version of its schema."""

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

from memprof.config.sections import is_config_name
from memprof.errors import DATA_ERRORS, ResultError
from memprof.records import SCHEMA_VERSION, Environment, RunRecord

T = TypeVar("T")
_UPGRADE = "upgrade with: pip install --upgrade memprof-gpu"


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def utc_now() -> str:
    """Return the current time in UTC, to the second, in ISO 8601: ``2026-11-22T01:42:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kind(StrEnum):
    """What a folder holds, named after the command that wrote it: rows, or one document."""

    SWEEP = "sweep"
    COMPARE = "compare"
    MAX_BATCH = "max-batch"
    EXPLAIN = "explain"

    @property
    def noun(self) -> str:
        """The kind in words, with an article."""
        return _NOUNS[self]


_NOUNS = {
    Kind.SWEEP: "a sweep",
    Kind.COMPARE: "a comparison",
    Kind.MAX_BATCH: "a max-batch result",
    Kind.EXPLAIN: "an explanation",
}
ROW_KINDS = (Kind.SWEEP, Kind.COMPARE)


@dataclass(frozen=True, kw_only=True)
class VariantPlan:
    """One variant of a comparison; `group` and `name` are the section and the name of its row in the table."""

    label: str  # how it differs from the base
    group: str
    name: str
    settings: dict[str, str]  # the varied settings and their values
    config: dict[str, Any]  # the whole resolved config, as JSON


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Where the rows or the document of a folder come from.

    `config` is the whole resolved config, as JSON. `variants` are those of a comparison, the base first; its rows have
    the same order.
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

    def __post_init__(self) -> None:
        """Refuse a name that is no config's name, since files are named after it (`../../x` would leave the folder).

        Raises:
            ValueError: the name has other characters, or is too long.
        """
        if not is_config_name(self.name):
            raise ValueError(f"name {self.name!r:.60} is not the name of a config")


def fingerprint(config: Mapping[str, Any], environment: Environment, model_source: str = "") -> str:
    """Return a hash of everything that the numbers depend on; a sweep resumes only one with the same hash.

    `model_source` is the text of the user's own model file, so that an edited model starts over.
    """
    versions = (environment.memprof_version, environment.torch_version, environment.cudnn_version)
    device = (environment.gpu, environment.source, environment.allocator_settings)
    text = json.dumps([config, device, versions, model_source], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def to_line(record: RunRecord) -> str:
    """Return the record as one line of JSON with the version of its schema."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(record)}, ensure_ascii=False)


def from_line(line: str, where: str = "record") -> RunRecord:
    """Return the record in a line that `to_line` wrote; error messages begin with `where`.

    Raises:
        ResultError: the line is not a record, or has another schema.
    """
    return parse(line, RunRecord, where)


def parse(text: str, kind: type[T], where: str) -> T:
    """Return the record, manifest or document in `text`: the one place where text of results becomes data.

    Integers have at most 64 bits, as in every file that memprof writes.

    Raises:
        ResultError: it is something else, or has another schema; the text is `where` and the first problem.
    """
    try:
        version = _schema_version(json.loads(text, parse_int=_int64))
        if version == SCHEMA_VERSION:
            key: Any = kind  # mypy takes type[T] to be unhashable
            parsed: T = _adapter(key).validate_json(text, strict=True)
            return parsed
    except ValidationError as error:
        raise ResultError(f"{where}: not a result of memprof: {first_problem(error)}") from None
    except DATA_ERRORS:
        raise ResultError(f"{where}: not a result of memprof") from None
    age, remedy = ("a newer", _UPGRADE) if version > SCHEMA_VERSION else ("an older", "run the command again")
    raise ResultError(
        f"{where}: {age} memprof wrote this (schema {version}, this one reads {SCHEMA_VERSION}); {remedy}"
    )


def first_problem(error: ValidationError) -> str:
    """Return the first problem that validation found, as ``key.key: text``."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return ": ".join(part for part in (place, first["msg"].removeprefix("Value error, ")) if part)


def _schema_version(fields: Any) -> int:
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if type(version) is not int or version < 1:
        raise ValueError("no schema version")
    return version


def _int64(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"{digits:.30} has more than 64 bits")
    return int(digits)
