"""The hand-written tables of the reference say what the code says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

from memprof.errors import ExitCode
from memprof.gpus.monitor_log import COLUMNS as MONITOR_COLUMNS
from memprof.results import COLUMNS, VARIANT_COLUMNS
from memprof.results.rows import PARALLEL_COLUMNS
from tests.paths import PACKAGE, ROOT

DOCS = ROOT / "docs"
RESULTS = (DOCS / "reference" / "results.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def names(text: str) -> Sequence[str]:
    """The code words of the first cell of each row."""
    return [
        word
        for line in text.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]


def test_results_page_has_the_columns_in_their_order() -> None:
    found = names(RESULTS.split("## results.csv")[1].split("## records.jsonl")[0])
    assert found == [*COLUMNS, *VARIANT_COLUMNS, *PARALLEL_COLUMNS]


def test_results_page_has_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| \S", RESULTS.split("## Exit codes")[1], re.MULTILINE)
    assert [int(row) for row in rows] == [code.value for code in ExitCode]


def test_monitor_page_has_the_columns_of_the_log() -> None:
    page = (DOCS / "commands" / "monitor.md").read_text()
    assert names(page.split("## Options")[0]) == list(MONITOR_COLUMNS)


def test_environment_page_has_every_variable_that_the_package_reads() -> None:
    sources = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.c")]
    used = {name for file in sources for name in re.findall(r'"(MEMPROF_[A-Z_]+)"', file.read_text())}
    page = (DOCS / "reference" / "environment.md").read_text()
    assert used == {name for name in names(page) if name.startswith("MEMPROF_")}


def test_architecture_has_the_layers_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    packages = [name.strip() for layer in layers for name in layer.split("|") if not name.strip().startswith("_")]
    assert names(ARCHITECTURE.split("## Layers")[1].split("##")[0]) == packages


def test_architecture_has_every_c_file() -> None:
    files = {file.name for file in (PACKAGE / "gpus" / "phantom" / "csrc").glob("*.c")}
    assert files == {name for name in names(ARCHITECTURE.split("## The C files")[1]) if name.endswith(".c")}
