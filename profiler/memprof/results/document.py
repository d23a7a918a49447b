"""An answer that is one document: `answer.json` beside the manifest, whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION
from memprof.results.files import make_run_folder, replace_file, write_manifest, writing
from memprof.results.load import ANSWER_FILE, read_text
from memprof.results.serialize import Manifest, parse, utc_now

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Document(Generic[T]):
    schema_version: int
    answer: T


def save_answer(root: Path, manifest: Manifest, answer: object) -> Path:
    """Write `answer` and the manifest, marked complete, to a new ``root/<config name>/<UTC time>``; return that folder.

    `answer` is of dataclasses, lists, tuples, dicts with text as keys, and what JSON has; bytes are ``int``. The
    manifest comes last, so that a crash leaves no folder that looks like a result.

    Raises:
        ResultError: the folder cannot be made or written.
        TypeError: a part of `answer` is of another type.
    """
    document = {"schema_version": SCHEMA_VERSION, "answer": answer}
    text = json.dumps(document, default=_fields, indent=2, ensure_ascii=False)
    with writing(root):
        path = make_run_folder(root / manifest.name, manifest.started)
        replace_file(path / ANSWER_FILE, text + "\n")
        write_manifest(path, replace(manifest, complete=True, finished=utc_now()))
    return path


def load_answer(path: Path, kind: type[T]) -> T:
    """Return the answer in the folder `path`, which must be of the type `kind`, such as ``list[MaxBatch]``.

    Raises:
        ResultError: there is none, it is of another type, or a newer memprof wrote it.
    """
    file = path / ANSWER_FILE
    if not file.is_file():
        raise ResultError(f"{path} is not complete: it has no {ANSWER_FILE}")
    document: Any = _Document[kind]  # type: ignore[valid-type]  # known only when it runs
    answer: T = parse(read_text(file), document, str(file)).answer
    return answer


def _fields(part: Any) -> dict[str, Any]:
    return asdict(part)
