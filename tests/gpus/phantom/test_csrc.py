"""The C sources: no warning from any compiler at hand, and one file for each library that is stood in for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import memprof.gpus.phantom
from memprof.gpus.phantom.symbols import generate_c, load_symbols, rest_of_driver
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch

SOURCES = Path(memprof.gpus.phantom.__file__).with_name("csrc")
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null")


@pytest.fixture(scope="module")
def install() -> TorchInstall:
    found = find_torch()
    if found is None or not found.include_folders:
        pytest.skip("needs the CUDA headers that come with torch")
    return found


def compile_strictly(compiler: str, source: Path, install: TorchInstall) -> str:
    includes = [f"-I{folder}" for folder in (SOURCES, *install.include_folders)]
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


def test_each_library_that_is_stood_in_for_has_a_file_of_its_own() -> None:
    """The runtime and cuDNN are too long for one file each; their parts carry the library's name."""
    names = {path.stem for path in SOURCES.glob("*.c")}
    assert {"cudart", "driver", "cublas", "cudnn", "nvml"} <= names
    libraries = {name for name in names if name.startswith(("cu", "driver", "nvml"))}
    assert libraries == {
        *("cudart", "cudart_memory", "cudart_pool", "cudart_stream", "cudart_graph"),
        *("cudnn", "cudnn_batch_norm", "cudnn_rnn", "cudnn_ctc"),
        *("driver", "cublas", "cufft", "cusolver", "cusparse", "nvml"),
    }


def test_every_file_says_at_its_head_what_it_is() -> None:
    files = [*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]
    assert [path.name for path in files if not path.read_text().startswith("/* ")] == []
