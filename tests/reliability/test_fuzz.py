"""Promise 1: any input gets one clear line and a documented exit status, within a second, and nothing is run.

`make fuzz` runs 10,000 cases with another seed.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import pytest

from memprof import cli
from memprof.breakdown.explanation import Explained
from memprof.breakdown.snapshot import explain_snapshot
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.errors import ExitCode, MemprofError
from memprof.gpus.catalog import load_catalog
from memprof.records import MaxBatch
from memprof.results import load as load_result
from memprof.results import load_document
from tests.paths import CONFIGS, ROOT
from tests.reliability import inputs

CASES = int(os.environ.get("MEMPROF_FUZZ_CASES", "2000"))
SEED = os.environ.get("MEMPROF_FUZZ_SEED", "1")
LONGEST_LINE = 1_000  # characters; what is wrong in a long input is shown shortened
SECONDS = 1.0  # of processor time, on one core
GROUPS = 10  # of cases a kind, so that the processes of pytest share them

SNAPSHOT: dict[str, Any] = {
    "segments": [
        {
            "device": 0, "address": 1 << 40, "total_size": 2 << 20, "allocated_size": 512, "active_size": 512,
            "requested_size": 400, "stream": 0, "segment_type": "small", "is_expandable": False, "frames": [],
            "blocks": [
                {"address": 1 << 40, "size": 512, "requested_size": 400, "state": "active_allocated", "frames": []},
            ],
        }
    ],
    "device_traces": [
        [
            {"action": "segment_alloc", "addr": 1 << 40, "size": 2 << 20, "stream": 0, "frames": []},
            {"action": "alloc", "addr": 1 << 40, "size": 400, "stream": 0, "frames": [
                {"name": "at::_ops::mm::call(at::Tensor const&)", "filename": "x.cpp", "line": 1}]},
        ]
    ],
    "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "expandable_segments": False, "max_split_size": -1},
    "external_annotations": [],
}  # fmt: skip
CATALOG = """[gpus.my-card]
name = "My GPU"
architecture = "ampere"
compute_capability = "8.6"
multiprocessors = 28
total_bytes = 12884901888
l2_cache_bytes = 3145728
context_bytes = 300000000
clock_khz = 1777000
memory_clock_khz = 7501000
memory_bus_bits = 192
assumed = ["context_bytes"]
sources = ["a data sheet"]
"""


COMMANDS = ("sweep", "compare", "max-batch", "fit", "explain", "plot", "report", "show", "diff", "check")
OPTIONS = (
    *("--gpu", "--batch-size", "--set", "--output-dir", "--memory", "--json", "--depth", "-o", "--kind", "--vary"),
    *("--max-increase", "--baseline", "--theme", "--force", "--timeout", "--start", "--optimizer", "-x"),
    *("--nope", "--require"),
)


def _config(random: Random, folder: Path) -> None:
    file = folder / "fuzzed.yaml"
    file.write_bytes(inputs.config_text(random))
    load(file)


def _override(random: Random, folder: Path) -> None:
    del folder
    chosen = random.choice(sorted(CONFIGS.glob("*.yaml")))
    flags = [Flag.SET, Flag.SET, Flag.BATCH_SIZE, Flag.OPTIMIZER, Flag.GPU]
    load(chosen, [Override(flag=random.choice(flags), text=inputs.override_text(random)) for _ in range(2)])


def _run_of(folder: Path, random: Random, file: str) -> Path:
    """Return a copy of a committed result in which `file` was changed."""
    run = folder / "20260101-000000"
    run.mkdir(exist_ok=True)
    saved = max((ROOT / "results" / "mnist_mlp").iterdir())
    for path in saved.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    lines = (run / file).read_text().splitlines()
    whole = [json.loads(line) for line in lines] if file.endswith("l") else [json.loads("\n".join(lines))]
    place = random.randrange(len(whole))
    written = [json.dumps(line).encode() for line in whole]
    written[place] = inputs.json_text(random, whole[place])
    (run / file).write_bytes(b"\n".join(written) + b"\n")
    return run


def _manifest(random: Random, folder: Path) -> None:
    load_result(_run_of(folder, random, "manifest.json"))


def _records(random: Random, folder: Path) -> None:
    load_result(_run_of(folder, random, "records.jsonl"))


def _document(random: Random, folder: Path) -> None:
    document = {"schema_version": 2, "result": [{"gpu": "t4", "source": "emulated", "largest_batch_size": 4}]}
    (folder / "result.json").write_bytes(inputs.json_text(random, document))
    load_document(folder, random.choice([list[MaxBatch], Explained]))


def _snapshot(random: Random, folder: Path) -> None:
    file = folder / "snapshot.pickle"
    file.write_bytes(inputs.snapshot_bytes(random, SNAPSHOT))
    explain_snapshot(file)


def _catalog(random: Random, folder: Path) -> None:
    file = folder / "gpus.toml"
    file.write_bytes(inputs.catalog_text(random, CATALOG))
    load_catalog(file)


def _options(random: Random, folder: Path) -> None:
    """Run a command that fails before it measures: its config does not exist, or an option is wrong."""
    command = random.choice(COMMANDS)
    arguments = [command, random.choice(["no/such.yaml", "", "\0", "x" * 5_000, str(folder), "/dev/null", "-"])]
    for _ in range(random.randint(0, 4)):
        arguments += [random.choice(OPTIONS), str(inputs.nasty(random))[:2_000]]
    status, said = _run_command(arguments)
    assert status in (*map(int, ExitCode),), arguments
    assert status not in (ExitCode.OK, ExitCode.INTERNAL_ERROR), (arguments, said)
    assert "Traceback" not in said, (arguments, said)
    assert len([line for line in said.splitlines() if line.strip()]) <= 1, (arguments, said)


def _run_command(arguments: list[str]) -> tuple[int, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["memprof", *arguments]
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            return cli._run(arguments), stderr.getvalue()
    finally:
        sys.argv = before


KINDS: Mapping[str, tuple[Callable[[Random, Path], None], float]] = MappingProxyType(
    {  # with the share of the cases
        "config": (_config, 0.30),
        "override": (_override, 0.15),
        "manifest": (_manifest, 0.10),
        "records": (_records, 0.10),
        "document": (_document, 0.10),
        "snapshot": (_snapshot, 0.10),
        "catalog": (_catalog, 0.10),
        "options": (_options, 0.05),
    }
)


def check(kind: str, name: str, folder: Path) -> str | None:
    """Run one case; return what is wrong with the way in which it ended, or ``None``.

    Right is: it is accepted, or refused as this kind of input is, in one line, and in time.
    """
    run, _ = KINDS[kind]
    began, problem = time.process_time(), None
    try:
        run(Random(f"{SEED} {kind} {name}"), folder)
    except MemprofError as error:
        problem = _problem(error)
    except Exception as error:  # noqa: BLE001  whatever escapes is the finding
        problem = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - began
    problem = problem or (f"took {seconds:.1f} s" if seconds > SECONDS else None)
    return problem and f"{kind} {name}: {problem}"[:400]


def _problem(error: MemprofError) -> str | None:
    text = str(error)
    if not text or "\n" in text or len(text) > LONGEST_LINE:
        return f"a text of {len(text.splitlines())} lines, {len(text)} characters: {text}"
    return f"an internal error: {text}" if error.exit_code is ExitCode.INTERNAL_ERROR else None


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_input_is_read_or_refused_in_one_line(kind: str, group: int, tmp_path: Path) -> None:
    cases = range(group, round(CASES * KINDS[kind][1]), GROUPS)
    problems = [problem for case in cases if (problem := check(kind, str(case), tmp_path)) is not None]
    assert not problems, f"{len(problems)} of {len(cases)}: " + "\n".join(problems[:10])
