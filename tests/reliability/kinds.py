"""The kinds of input that memprof reads: how to make one from a seed, and the function of memprof that reads it.

Each input is a string of bytes, so that one that memprof did not handle can be kept as a file of the corpus.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from memprof import cli
from memprof.breakdown.explanation import Explained
from memprof.breakdown.snapshot import explain_snapshot
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.errors import ConfigError, ExitCode
from memprof.experiments.verify import load_verification
from memprof.gpus.catalog import load_catalog
from memprof.records import MaxBatch
from memprof.results import load as load_result
from memprof.results import load_document
from tests.paths import CONFIGS, ROOT
from tests.reliability import inputs, valid

_RESULT = max((ROOT / "results" / "mnist_mlp").iterdir())
_RECORD = ROOT / "docs" / "fidelity" / "nvidia-h200-torch-2.11.0+cu130-cudnn-9.19.0.json"


@dataclass(frozen=True, kw_only=True)
class InputKind:
    """`share` of the cases; `make` an input; `read` it in an empty folder; inputs that are always tried."""

    share: float
    make: Callable[[Random], bytes]
    read: Callable[[bytes, Path], None]
    special: tuple[bytes, ...] = ()


def _read_config(data: bytes, folder: Path) -> None:
    file = folder / "fuzzed.yaml"
    file.write_bytes(data)
    load(file)


def _make_override(random: Random) -> bytes:
    flags = [Flag.SET, Flag.SET, Flag.BATCH_SIZE, Flag.OPTIMIZER, Flag.GPU]
    chosen = [[random.choice(flags).value, inputs.override_text(random)] for _ in range(2)]
    return json.dumps([random.choice(sorted(CONFIGS.glob("*.yaml"))).name, chosen]).encode()


def _read_override(data: bytes, _folder: Path) -> None:
    config, chosen = json.loads(data)
    load(CONFIGS / config, [Override(flag=Flag(flag), text=text) for flag, text in chosen])


def _json_of(lines: Iterable[Any], random: Random) -> bytes:
    """Return one of the values as changed JSON, and the others as they are."""
    whole = list(lines)
    written = [json.dumps(line).encode() for line in whole]
    place = random.randrange(len(whole))
    written[place] = inputs.json_text(random, whole[place])
    return b"\n".join(written) + b"\n"


def _make_manifest(random: Random) -> bytes:
    return _json_of([json.loads((_RESULT / "manifest.json").read_text())], random)


def _make_records(random: Random) -> bytes:
    return _json_of(map(json.loads, (_RESULT / "records.jsonl").read_text().splitlines()), random)


def _reads_result(file: str) -> Callable[[bytes, Path], None]:
    """Return a function that loads a committed result in which `file` is replaced."""

    def read(data: bytes, folder: Path) -> None:
        run = folder / "20260101-000000"
        run.mkdir(exist_ok=True)
        for path in _RESULT.iterdir():
            (run / path.name).write_bytes(path.read_bytes())
        (run / file).write_bytes(data)
        load_result(run)

    return read


def _make_document(random: Random) -> bytes:
    return inputs.json_text(random, valid.DOCUMENT)


def _read_document(data: bytes, folder: Path) -> None:
    (folder / "result.json").write_bytes(data)
    kinds: tuple[type, ...] = (list[MaxBatch], Explained)
    load_document(folder, kinds[len(data) % 2])


def _make_verification(random: Random) -> bytes:
    record = json.loads(_RECORD.read_text())
    return inputs.json_text(random, {**record, "rows": record["rows"][:3]})


def _read_verification(data: bytes, folder: Path) -> None:
    file = folder / "record.json"
    file.write_bytes(data)
    load_verification(file)


def _make_snapshot(random: Random) -> bytes:
    return inputs.snapshot_bytes(random, valid.SNAPSHOT)


def _read_snapshot(data: bytes, folder: Path) -> None:
    file = folder / "snapshot.pickle"
    file.write_bytes(data)
    explain_snapshot(file)


def _make_catalog(random: Random) -> bytes:
    return inputs.catalog_text(random, valid.CATALOG)


def _read_catalog(data: bytes, folder: Path) -> None:
    file = folder / "gpus.toml"
    file.write_bytes(data)
    load_catalog(file)


def _make_options(random: Random) -> bytes:
    """Return a command line that fails before it measures: its config does not exist, or an option is wrong."""
    command = random.choice(valid.COMMANDS)
    arguments = [command, random.choice(["no/such.yaml", "", "\0", "x" * 5_000, "/dev/null", "-"])]
    for _ in range(random.randint(0, 4)):
        arguments += [random.choice(valid.OPTIONS), str(inputs.nasty(random))[:2_000]]
    return json.dumps(arguments).encode()


def _read_options(data: bytes, folder: Path) -> None:
    _run_refused(json.loads(data), {}, folder)


def _make_environment(random: Random) -> bytes:
    """Return a command line that needs no GPU, and variables with values that make no sense."""
    names = random.sample(sorted(valid.VARIABLES), random.randint(1, 4))
    texts = {name: random.choice([*valid.VARIABLES[name], str(inputs.nasty(random))[:2_000]]) for name in names}
    variables = {name: text.replace("\0", "") for name, text in texts.items()}  # no variable can hold a null byte
    return json.dumps([random.choice(valid.QUICK_COMMANDS), variables]).encode("ascii")


def _read_environment(data: bytes, folder: Path) -> None:
    arguments, variables = json.loads(data)
    _run_refused(arguments, variables, folder, may_succeed=True)


def _run_refused(
    arguments: list[str], variables: Mapping[str, str], folder: Path, *, may_succeed: bool = False
) -> None:
    """Run a command in this process; check its status, and that it prints at most one line to stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    given = [str(_RESULT) if argument == "RESULT" else argument for argument in arguments]
    before = Path.cwd()
    os.chdir(folder)
    try:
        with (
            patch.dict(os.environ, variables),
            patch.object(sys, "argv", ["memprof", *given]),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            status = cli._run(given)
    finally:
        os.chdir(before)
    said = stderr.getvalue()
    assert status in (*map(int, ExitCode),), given
    assert status != ExitCode.INTERNAL_ERROR, (given, variables, said)
    assert may_succeed or status != ExitCode.OK, (given, said)
    assert "Traceback" not in said, (given, variables, said)
    assert len([line for line in said.splitlines() if line.strip()]) <= 1, (given, variables, said)
    if status != ExitCode.OK:
        raise ConfigError(f"refused with status {status}")


def _encoded(texts: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


KINDS: Mapping[str, InputKind] = MappingProxyType(
    {
        "config": InputKind(
            share=0.30, make=inputs.config_text, read=_read_config, special=_encoded(inputs.SPECIAL_YAML)
        ),
        "override": InputKind(share=0.15, make=_make_override, read=_read_override),
        "manifest": InputKind(
            share=0.10, make=_make_manifest, read=_reads_result("manifest.json"), special=_encoded(inputs.SPECIAL_JSON)
        ),
        "records": InputKind(
            share=0.10, make=_make_records, read=_reads_result("records.jsonl"), special=_encoded(inputs.SPECIAL_JSON)
        ),
        "document": InputKind(
            share=0.06, make=_make_document, read=_read_document, special=_encoded(inputs.SPECIAL_JSON)
        ),
        "verification": InputKind(
            share=0.04, make=_make_verification, read=_read_verification, special=_encoded(inputs.SPECIAL_JSON)
        ),
        "snapshot": InputKind(
            share=0.10, make=_make_snapshot, read=_read_snapshot, special=tuple(inputs.SPECIAL_PICKLES.values())
        ),
        "catalog": InputKind(share=0.08, make=_make_catalog, read=_read_catalog, special=_encoded(inputs.SPECIAL_TOML)),
        "options": InputKind(share=0.05, make=_make_options, read=_read_options),
        "environment": InputKind(share=0.02, make=_make_environment, read=_read_environment),
    }
)
