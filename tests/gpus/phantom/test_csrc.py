"""The C sources: no compiler warns, and no file depends on itself through others."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import memprof.gpus.phantom
from memprof.gpus.phantom.symbols import generate_c, load_symbols, rest_of_driver
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch

SOURCES = Path(memprof.gpus.phantom.__file__).with_name("csrc")
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
INCLUDE = re.compile(r'#include "(\w+)\.h"')
PHANTOM_CALL = re.compile(r"\b(phantom_\w+)\s*\(")
# A call, or a function that is handed to others in a table. `REAL(open)` and `calls->open` are other functions.
CALL = re.compile(r"(?<![\w.>])(\w+)\s*\(|\.\w+ = (\w+)")
DEFINITION = re.compile(
    r"^(?P<static>(?:[\w()]+ )*?static )?[\w][\w *]*?\b(?P<name>\w+)\s*\([^;{}]*?\)\s*\{", re.MULTILINE
)
STRICT = ("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null")


@pytest.fixture(scope="module")
def install() -> TorchInstall:
    found = find_torch()
    if found is None or not found.include_folders:
        pytest.skip("needs the CUDA headers that come with torch")
    return found


def compile_strictly(compiler: str, source: Path, install: TorchInstall) -> str:
    includes = ["-iquote", str(SOURCES), *(f"-I{folder}" for folder in install.include_folders)]
    command = [compiler, *STRICT, *includes, str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(not COMPILERS, reason="neither gcc nor clang is installed")
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.c")), ids=lambda path: path.name)
def test_a_source_compiles_without_a_warning(compiler: str, source: Path, install: TorchInstall) -> None:
    assert compile_strictly(compiler, source, install) == ""


@pytest.mark.skipif(not COMPILERS, reason="neither gcc nor clang is installed")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_generated_c_compiles_without_a_warning(compiler: str, install: TorchInstall, tmp_path: Path) -> None:
    symbols = load_symbols()
    everything = [*symbols.values(), *rest_of_driver(install.read_header("cuda.h"), symbols)]
    source = tmp_path / "rest.c"
    source.write_text(generate_c(everything))
    assert compile_strictly(compiler, source, install) == ""


def dependencies(sources: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """The files that each file needs: those whose header it includes, and those whose functions it calls.

    Functions that have a name of the C library count too, since a call of `rename` reaches the wrapper `rename`.
    `sources` has the texts by stem: a C file and its header are one file.
    """
    texts = {stem: "\n".join(COMMENT_OR_STRING.sub(" ", text) for text in parts) for stem, parts in sources.items()}
    found = {stem: [*DEFINITION.finditer(text)] for stem, text in texts.items()}
    defined_in = {each["name"]: stem for stem, all_ in found.items() for each in all_ if not each["static"]}
    local = {stem: {each["name"] for each in all_ if each["static"]} for stem, all_ in found.items()}
    called = {
        stem: {name for pair in CALL.findall(text) for name in pair} - local[stem] for stem, text in texts.items()
    }
    return {
        stem: (
            {name for part in sources[stem] for name in INCLUDE.findall(part) if name in sources}
            | {defined_in[name] for name in called[stem] if name in defined_in}
        )
        - {stem}
        for stem in texts
    }


def cycle_in(needs: Mapping[str, set[str]]) -> list[str]:
    """One cycle of the graph, its first file again at the end; empty if there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.fixture(scope="module")
def needs() -> dict[str, set[str]]:
    stems = sorted({path.stem for path in SOURCES.iterdir()})
    paths = {stem: [SOURCES / f"{stem}{suffix}" for suffix in (".c", ".h")] for stem in stems}
    return dependencies({stem: [path.read_text() for path in both if path.exists()] for stem, both in paths.items()})


def test_csrc_has_no_cycle_of_includes_and_calls(needs: dict[str, set[str]]) -> None:
    assert cycle_in(needs) == []


def test_csrc_graph_contains_known_includes_and_calls(needs: dict[str, set[str]]) -> None:
    """Every file has an edge, except those few that need no other."""
    assert {stem for stem, needed in needs.items() if not needed} == {
        "answers",
        "cublaslt_lookup",
        "cuda_version",
        "element",
        "graph_nodes",
        "handle",
        "pending",
        "refuse",
        "uuid",
    }
    assert needs["copies"] == {"answers", "arena", "values"}
    assert needs["context"] == {"device", "ledger"}
    # Its calls of open, close and dlsym may reach the wrappers.
    assert needs["counters_torch"] == {"cublaslt_lookup", "device", "torch_blocks", "writes_data", "writes_open"}


def test_csrc_includes_every_header_whose_functions_it_calls() -> None:
    for path in SOURCES.glob("*.c"):
        text = path.read_text()
        included = {path.stem, *INCLUDE.findall(text)}
        called = set(PHANTOM_CALL.findall(COMMENT_OR_STRING.sub(" ", text)))
        declared = {
            name: header.stem
            for header in SOURCES.glob("*.h")
            for name in PHANTOM_CALL.findall(COMMENT_OR_STRING.sub(" ", header.read_text()))
        }
        assert {declared[name] for name in called if name in declared} <= included, path.name


@pytest.mark.parametrize(
    ("sources", "cycle"),
    [
        ({"one": ['#include "two.h"'], "two": ['#include "one.h"']}, {"one", "two"}),
        (
            {
                "one": ["void phantom_first(void) { phantom_second(); }"],
                "two": ['#include "three.h"', "int phantom_second(void) {\n    return 2;\n}"],
                "three": ["int phantom_third(int *a,\n                  int b) { phantom_first(); }"],
            },
            {"one", "two", "three"},
        ),
        (
            {
                "raw": ["bool call_wrapper(long n) {\n    return rename(a, b);\n}\nvoid raw_end(void) { s = 0; }"],
                "rename": ['#include "raw.h"', "int rename(const char *a, const char *b) { return raw_end(); }"],
            },
            {"raw", "rename"},
        ),
        (
            {
                "start": ["void start(void) { hand_over(&(struct calls){.link = linkat}); }"],
                "link": ["int linkat(int a,\n           int b) {\n    return start();\n}"],
            },
            {"start", "link"},
        ),
        (
            {
                "one": ['/* phantom_second() */ #include "two.h"'],
                "two": ['void phantom_second(void) { f("phantom_first("); REAL(open)(a); calls->open(b); fail(1); }'],
                "three": [
                    '#include "two.h"',
                    "static int fail(int e) { return 0; }\nint open(int a) { return fail(a); }",
                ],
            },
            set(),
        ),
    ],
    ids=["includes", "calls", "c_library_names", "tables", "none"],
)
def test_csrc_graph_with_a_cycle_reports_its_files(sources: Mapping[str, Sequence[str]], cycle: set[str]) -> None:
    assert set(cycle_in(dependencies(sources))) == cycle


def test_every_c_file_begins_with_a_comment() -> None:
    files = [*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]
    assert [path.name for path in files if not path.read_text().startswith("/* ")] == []
