"""A result that is one document: `result.json` next to the manifest, either whole or absent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION
from memprof.results.files import replace_file, write_manifest, writing
from memprof.results.load import DOCUMENT_FILE
from memprof.results.new_folder import new_run_folder
from memprof.results.reading import read_text
from memprof.results.serialize import Manifest, parse, utc_now

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Document(Generic[T]):
    schema_version: int
    result: T


def save_document(root: Path, manifest: Manifest, result: object) -> Path:
    """Save `result` and the manifest, marked complete, to a new ``root/<config name>/<UTC time>``; return that folder.

    `result` consists of dataclasses, lists, tuples, dicts with string keys, and JSON's values; bytes are ``int``. The
    manifest is written last, so that a crash leaves no folder that looks like a result.

    Raises:
        ResultError: the folder cannot be created or written.
        TypeError: a part of `result` has another type.
    """
    document = {"schema_version": SCHEMA_VERSION, "result": result}
    text = json.dumps(document, default=_fields, indent=2, ensure_ascii=False)
    with writing(root), new_run_folder(root, manifest.name, manifest.started) as path:
        replace_file(path / DOCUMENT_FILE, text + "\n")
        write_manifest(path, replace(manifest, complete=True, finished=utc_now()))
    return path


def load_document(path: Path, kind: type[T]) -> T:
    """Return the result in the folder `path`, which must have the type `kind`, for example ``list[MaxBatch]``.

    Raises:
        ResultError: there is none, it has another type, or another version of memprof wrote it.
    """
    file = path / DOCUMENT_FILE
    if not file.exists():
        raise ResultError(f"{path} is not complete: it has no {DOCUMENT_FILE}")
    document: Any = _Document[kind]  # type: ignore[valid-type]  # known only at run time
    result: T = parse(read_text(file), document, str(file)).result
    return result


def _fields(part: Any) -> dict[str, Any]:
    return asdict(part)
