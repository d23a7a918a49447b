"""Compiling the phantom's libraries from `csrc/` and the C that is generated from the table of symbols."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from memprof.errors import DeviceError
from memprof.gpus.phantom.symbols import generate_c, load_symbols, rest_of_driver, rest_of_nvml

LIBRARIES = (
    "libphantom.so", "libphantom_files.so", "libphantom_torch.so", "libcuda.so.1", "libnvidia-ml.so.1", "libcuda.so",
)  # fmt: skip
_SOURCES = Path(__file__).with_name("csrc")
# With the beginning of the names of their C files; all other C files make up libphantom.so.
_LINKED = MappingProxyType(  # against libphantom.so
    {"libcuda.so.1": "driver", "libnvidia-ml.so.1": "nvml", "libphantom_torch.so": "counters"}
)
_ALONE = MappingProxyType({"libphantom_files.so": "writes_"})
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared")


def compile_libraries(compiler: Sequence[str], include_folders: Sequence[Path], folder: Path) -> None:
    """Write `LIBRARIES` into `folder`, with the headers of CUDA and cuDNN in `include_folders`.

    Raises:
        DeviceError: the compiler fails, or writes no library.
    """
    command = (*compiler, *_FLAGS, "-iquote", str(_SOURCES), *(f"-I{path}" for path in include_folders))
    for name, source in _generated(include_folders).items():
        (folder / name).write_text(source)
    runtime = [path for path in _sources() if not path.name.startswith((*_LINKED.values(), *_ALONE.values()))]
    _compile(
        (*command, *map(str, runtime), str(folder / "rest.c"), "-lpthread", "-ldl", "-lm"), folder / "libphantom.so"
    )
    for name, prefix in _ALONE.items():
        _compile((*command, *_sources_of(prefix), "-lpthread", "-ldl"), folder / name)
    linked = (f"-L{folder}", "-lphantom", "-Wl,-rpath,$ORIGIN", "-lpthread")
    for name, prefix in _LINKED.items():
        rest = [str(path) for path in folder.glob(f"{prefix}_rest.c")]
        _compile((*command, f"-Wl,-soname,{name}", *_sources_of(prefix), *rest, *linked, "-ldl"), folder / name)
    (folder / "libcuda.so").symlink_to("libcuda.so.1")  # what Triton links against, up to that of torch 2.9


def digest_build(include_folders: Sequence[Path]) -> str:
    """Return a hash of what a build with these headers consists of, apart from the compiler."""
    digest = hashlib.sha256(digest_sources().encode())
    for source in _generated(include_folders).values():
        digest.update(source.encode())
    return digest.hexdigest()


def digest_sources() -> str:
    """Return a hash of the C files, the table of symbols and the compiler's options."""
    digest = hashlib.sha256(" ".join((*_FLAGS, *_LINKED, *_ALONE, *_ALONE.values())).encode())
    for path in (*sorted(_SOURCES.iterdir()), Path(__file__).with_name("symbols.toml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _sources() -> list[Path]:
    return sorted(_SOURCES.glob("*.c"))


def _sources_of(prefix: str) -> list[str]:
    return [str(path) for path in _sources() if path.name.startswith(prefix)]


def _generated(include_folders: Sequence[Path]) -> Mapping[str, str]:
    """Return the generated C, one file for each library."""
    symbols = load_symbols()
    by_library = {name: [s for s in symbols.values() if s.library == name] for name in ("driver", "nvml")}
    preloaded = [s for s in symbols.values() if s.library not in by_library]
    header = next((folder / "cuda.h" for folder in include_folders if (folder / "cuda.h").is_file()), None)
    declared = header.read_text(encoding="utf-8", errors="replace") if header else ""
    pynvml = importlib.util.find_spec("pynvml")
    pynvml_source = Path(pynvml.origin).read_text(encoding="utf-8") if pynvml and pynvml.origin else ""
    return {
        "rest.c": generate_c(preloaded),
        "driver_rest.c": generate_c(by_library["driver"] + rest_of_driver(declared, symbols)),
        "nvml_rest.c": generate_c(by_library["nvml"] + rest_of_nvml(pynvml_source, symbols)),
    }


def _compile(command: tuple[str, ...], output: Path) -> None:
    run = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True, errors="replace", check=False)
    if run.returncode != 0:
        first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr.strip()[:300])
        raise DeviceError(f"the phantom GPU could not be compiled with {command[0]}: {first}")
    if not output.is_file() or output.read_bytes()[:4] != b"\x7fELF":
        raise DeviceError(f"the phantom GPU could not be compiled with {command[0]}: it has written no library")
