"""The table of symbols against what the installed libraries import, look up by name, and what the phantom defines."""

from __future__ import annotations

import mmap
import re
import struct
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.gpus.phantom import symbols as module
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.symbols import Symbol, Treatment, generate_c, load_symbols, rest_of_driver, rest_of_nvml
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch

CUDA_SYMBOL = re.compile(
    r"(__)?cu(da|dnn|blas|sparse|solver|fft|rand|pti|File|[A-Z])|nv(rtc|ml|jpeg|shmem|JitLink)|nccl|cudss|cutensor"
)
FUNCTION_NAME = re.compile(rb"\0((?:cu[A-Z]|nvml[A-Z])\w{3,60})(?=\0)")
LIBRARIES = {"libcuda.so.1": "driver", "libnvidia-ml.so.1": "nvml"}
SYMBOLS = load_symbols()


def sections(image: mmap.mmap) -> list[tuple[int, ...]]:
    """The section headers of a 64-bit ELF file, as `Elf64_Shdr` has them."""
    offset: int = struct.unpack_from("<Q", image, 40)[0]
    size, count = struct.unpack_from("<HH", image, 58)
    return [struct.unpack_from("<IIQQQQIIQQ", image, offset + i * size) for i in range(count)]


def dynamic_symbols(path: Path, defined: bool) -> set[str]:
    """The names that a library defines for others, or those that it imports."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        headers = sections(image)
        table = next(header for header in headers if header[1] == 11)  # SHT_DYNSYM
        names = headers[table[6]][4]
        entries = struct.iter_unpack("<IBBHQQ", image[table[4] : table[4] + table[5]])
        starts = (names + entry[0] for entry in entries if bool(entry[3]) is defined)
        return {image[start : image.find(b"\0", start)].decode() for start in starts}


def strings(path: Path) -> Iterator[str]:
    """The names of driver and NVML functions among the constant strings of a library."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        headers = sections(image)
        (end,) = struct.unpack_from("<H", image, 62)
        for header in headers:
            name = headers[end][4] + header[0]
            if image[name : image.find(b"\0", name)].startswith(b".rodata"):
                content = image[header[4] - 1 : header[4] + header[5]]
                yield from (found.decode() for found in FUNCTION_NAME.findall(content))


@pytest.fixture(scope="module")
def install() -> TorchInstall:
    found = find_torch()
    if found is None or found.cuda_version is None:
        pytest.skip("needs a CUDA build of PyTorch")
    return found


@pytest.fixture(scope="module")
def defined(phantom_libraries: PhantomLibraries) -> dict[str, set[str]]:
    names = ("libphantom.so", *LIBRARIES)
    return {name: dynamic_symbols(phantom_libraries.folder / name, defined=True) for name in names}


def test_table_has_every_cuda_symbol_that_torch_imports(install: TorchInstall) -> None:
    imported = {name for path in install.libraries for name in dynamic_symbols(path, defined=False)}
    cuda = {name for name in imported if CUDA_SYMBOL.match(name)}
    assert len(cuda) > 700
    assert sorted(cuda - SYMBOLS.keys()) == []


def test_table_has_every_driver_function_that_torch_looks_up(install: TorchInstall) -> None:
    header = install.read_header("cuda.h")
    declared = {symbol.name for symbol in rest_of_driver(header, SYMBOLS)} | SYMBOLS.keys()
    wanted = looked_up(install, "cu") & declared  # other strings only look like functions
    assert len(wanted) > 30
    assert sorted(wanted - SYMBOLS.keys()) == []


def test_table_has_every_nvml_function_that_torch_looks_up(install: TorchInstall) -> None:
    wanted = looked_up(install, "nvml")
    assert len(wanted) > 4
    assert sorted(wanted - SYMBOLS.keys()) == []


def looked_up(install: TorchInstall, prefix: str) -> set[str]:
    paths = [path for path in install.libraries if path.name in ("libc10_cuda.so", "libtorch_cuda.so")]
    assert len(paths) == 2
    return {name for path in paths for name in strings(path) if name.startswith(prefix)}


def test_no_symbol_is_listed_twice() -> None:
    table = tomllib.loads(Path(module.__file__).with_name("symbols.toml").read_text(encoding="utf-8"))
    listed = Counter(
        name for section in table.values() for treatment in Treatment for name in section.get(treatment, ())
    )
    assert [name for name, count in listed.items() if count > 1] == []
    assert len(listed) == len(SYMBOLS)


def test_symbol_section_has_only_treatments_and_a_code() -> None:
    table = tomllib.loads(Path(module.__file__).with_name("symbols.toml").read_text(encoding="utf-8"))
    assert {key for section in table.values() for key in section} == {*Treatment, "refused_code", "writes", "outputs"}


def test_every_refused_symbol_has_the_status_that_it_fails_with() -> None:
    refused = [symbol for symbol in SYMBOLS.values() if symbol.treatment is Treatment.REFUSED]
    assert [symbol.name for symbol in refused if not symbol.refused_code] == []


@pytest.mark.parametrize("library", ["libphantom.so", *LIBRARIES])
def test_built_library_defines_the_symbols_of_the_table(
    library: str, defined: dict[str, set[str]], install: TorchInstall
) -> None:
    mine = LIBRARIES.get(library)
    for_cuda_12 = install.cudart_version is not None and install.cudart_version.startswith("12")
    wanted = {
        symbol.name
        for symbol in SYMBOLS.values()
        if symbol.treatment is not Treatment.PASSED_ON
        and (symbol.library != "cudart_12" or for_cuda_12)
        and (symbol.library == mine if mine else symbol.library not in LIBRARIES.values())
        and not (for_cuda_12 and f"{symbol.name}_v2" in SYMBOLS)  # whose headers know it by the other name
    }
    assert sorted(wanted - defined[library]) == []


@pytest.mark.parametrize("library", ["libphantom.so", *LIBRARIES])
def test_what_is_passed_on_is_left_to_the_real_library(library: str, defined: dict[str, set[str]]) -> None:
    passed_on = {symbol.name for symbol in SYMBOLS.values() if symbol.treatment is Treatment.PASSED_ON}
    assert sorted(passed_on & defined[library]) == []


def test_emulated_driver_has_every_function_of_cuda_h(install: TorchInstall, defined: dict[str, set[str]]) -> None:
    rest = {symbol.name for symbol in rest_of_driver(install.read_header("cuda.h"), SYMBOLS)}
    assert len(rest) > 300
    assert sorted(rest - defined["libcuda.so.1"]) == []


def test_driver_functions_are_found_in_a_header_by_both_names() -> None:
    header = """
    #define cuMemAlloc                          cuMemAlloc_v2
    CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize);
    CUresult CUDAAPI cuInit(unsigned int Flags);
    """
    rest = rest_of_driver(header, SYMBOLS)
    assert [symbol.name for symbol in rest] == ["cuMemAlloc", "cuMemAlloc_v2"]
    assert {symbol.treatment for symbol in rest} == {Treatment.REFUSED}
    assert {symbol.refused_code for symbol in rest} == {801}


def test_pynvml_functions_outside_the_table_are_unsupported() -> None:
    source = 'fn = _nvmlGetFunctionPointer("nvmlInit_v2")\nfn = _nvmlGetFunctionPointer("nvmlDeviceGetFanSpeed")'
    (rest,) = rest_of_nvml(source, SYMBOLS)
    assert (rest.name, rest.treatment) == ("nvmlDeviceGetFanSpeed", Treatment.UNSUPPORTED)


def symbol_of(treatment: Treatment, code: int | None = None) -> Symbol:
    return Symbol(name="cudaThing", library="cudart", treatment=treatment, refused_code=code)


@pytest.mark.parametrize(
    ("symbol", "body"),
    [
        (
            symbol_of(Treatment.LAUNCHED),
            "int cudaThing(phantom_handle *handle) { return phantom_launched(handle->stream), 0; }",
        ),
        (
            Symbol(name="cudaThing", library="cublas", treatment=Treatment.LAUNCHED, refused_code=None, outputs=(2,)),
            "int cudaThing(phantom_handle *handle, void *a1, void *a2) { "
            "return (void)a1, phantom_forget_outputs((void *[]){a2}, 1), phantom_launched(handle->stream), 0; }",
        ),
        (symbol_of(Treatment.NO_OP), "int cudaThing(void) { return 0; }"),
        (symbol_of(Treatment.UNSUPPORTED), "int cudaThing(void) { return 3; }"),
        (
            symbol_of(Treatment.REFUSED, 801),
            'int cudaThing(void) { return phantom_refuse("cudaThing"), 801; }',
        ),
    ],
)
def test_the_generated_c_has_one_body_for_each_treatment(symbol: Symbol, body: str) -> None:
    assert generate_c([symbol]).splitlines()[-1] == body


@pytest.mark.parametrize("treatment", [Treatment.DONE, Treatment.PASSED_ON])
def test_nothing_is_generated_for_what_is_written_or_passed_on(treatment: Treatment) -> None:
    assert "cudaThing" not in generate_c([symbol_of(treatment)])
