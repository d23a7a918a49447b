"""Building the phantom's libraries in the user's cache folder, once for each set of sources and CUDA headers."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs

from memprof.errors import DeviceError
from memprof.gpus.phantom.cache import BUILDING, is_intact, keep, open_cache, remove_left_over, without_separators
from memprof.gpus.phantom.symbols import generate_c, load_symbols, rest_of_driver, rest_of_nvml
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch

_SOURCES = Path(__file__).with_name("csrc")
# With the beginning of the names of their C files; all other C files make up libphantom.so.
_OTHER_LIBRARIES = MappingProxyType({"libcuda.so.1": "driver", "libnvidia-ml.so.1": "nvml"})
_FILES = "writes_"  # the beginning of the names of the C files of libphantom_files.so
_OTHER_FOLDER = "set MEMPROF_CACHE_DIR to another folder"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared")


@dataclass(frozen=True, kw_only=True)
class PhantomLibraries:
    """The folder with the built libraries, one of which is preloaded."""

    folder: Path

    @property
    def preload(self) -> Path:
        """The library that replaces the CUDA runtime, cuBLAS and cuDNN."""
        return self.folder / "libphantom.so"

    @property
    def files(self) -> Path:
        """The library that keeps checkpoints apart from the user's files; `memprof run` preloads it too."""
        return self.folder / "libphantom_files.so"


def build_phantom() -> PhantomLibraries:
    """Return the phantom's libraries; the first use builds them.

    Two processes may build at once: each builds in its own folder, and the first to finish keeps the name.

    Raises:
        DeviceError: phantoms are unavailable on this machine; the message gives the reason and what to do.
    """
    install = _usable_torch()
    try:
        folder = open_cache(cache_folder()) / _key(install)
        if not is_intact(folder):
            _build(install, find_compiler(), folder)
        return PhantomLibraries(folder=without_separators(folder))
    except OSError as error:
        fix = "raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else _OTHER_FOLDER
        raise DeviceError(f"the phantom GPU cannot be built in {cache_folder()}: {error.strerror}; {fix}") from error


def cache_folder() -> Path:
    """Return the folder of built phantoms: in MEMPROF_CACHE_DIR, else in the platform's cache folder."""
    chosen = os.environ.get("MEMPROF_CACHE_DIR")
    return (Path(chosen) if chosen else platformdirs.user_cache_path("memprof")) / "phantom"


def find_compiler() -> tuple[str, ...]:
    """Return the command of a C compiler: $CC, cc, gcc, clang, or the one in the package ziglang.

    Raises:
        DeviceError: there is none, or $CC is not a command.
    """
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise DeviceError(f"CC={os.environ['CC']} is not a command: {error}; set it to a C compiler") from error
    if named and shutil.which(named[0]):
        return tuple(named)
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return (found,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    raise DeviceError(
        "the phantom GPU needs a C compiler, and none was found; install gcc or clang, or run: pip install ziglang"
    )


def require_platform(system: str, machine: str) -> None:
    """Refuse platforms that the phantom does not support; the names are those of the module `platform`.

    Raises:
        DeviceError: the platform is not Linux on x86-64.
    """
    if (system, machine) != ("Linux", "x86_64"):
        raise DeviceError(
            f"the phantom GPU needs Linux on x86-64, and this is {system} on {machine}; "
            "use a real GPU or the analytic estimate"
        )


def _usable_torch() -> TorchInstall:
    require_platform(platform.system(), platform.machine())
    install = find_torch()
    if install is None:
        raise DeviceError("PyTorch is not installed; run: pip install torch torchvision")
    if install.cuda_version is None:
        raise DeviceError(
            f"the phantom GPU needs a CUDA build of PyTorch, and torch {install.torch_version} is not one; "
            "install the CUDA wheel of torch"
        )
    _require_headers(install)
    return install


def _require_headers(install: TorchInstall) -> None:
    wanted = {
        "cuda.h": "nvidia-cuda-runtime",
        "cuda_runtime_api.h": "nvidia-cuda-runtime",
        "cudnn.h": "nvidia-cudnn-cu13",
        "crt/host_defines.h": "nvidia-cuda-crt",
    }
    for header, package in wanted.items():
        if not any((folder / header).is_file() for folder in install.include_folders):
            raise DeviceError(f"the phantom GPU needs the header {header}; run: pip install {package}")


def _key(install: TorchInstall) -> str:
    """Return a name for what the build depends on: the sources with their headers, and CUDA's and cuDNN's versions."""
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for source in _generated(install).values():
        digest.update(source.encode())
    digest.update(" ".join((*_FLAGS, *_OTHER_LIBRARIES, _FILES)).encode())
    return f"cuda{install.cudart_version}-cudnn{install.cudnn_version}-{digest.hexdigest()[:16]}"


def _generated(install: TorchInstall) -> Mapping[str, str]:
    """Return the generated C, one file for each library."""
    symbols = load_symbols()
    by_library = {name: [s for s in symbols.values() if s.library == name] for name in ("driver", "nvml")}
    preloaded = [s for s in symbols.values() if s.library not in by_library]
    pynvml = importlib.util.find_spec("pynvml")
    pynvml_source = Path(pynvml.origin).read_text(encoding="utf-8") if pynvml and pynvml.origin else ""
    return {
        "rest.c": generate_c(preloaded),
        "driver_rest.c": generate_c(by_library["driver"] + rest_of_driver(install.read_header("cuda.h"), symbols)),
        "nvml_rest.c": generate_c(by_library["nvml"] + rest_of_nvml(pynvml_source, symbols)),
    }


def _build(install: TorchInstall, compiler: tuple[str, ...], folder: Path) -> None:
    remove_left_over(folder.parent)
    with tempfile.TemporaryDirectory(prefix=BUILDING, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        built = Path(scratch)
        includes = ["-iquote", str(_SOURCES), *(f"-I{path}" for path in install.include_folders)]
        command = (*compiler, *_FLAGS, *includes)
        for name, source in _generated(install).items():
            (built / name).write_text(source)
        others = (*_OTHER_LIBRARIES.values(), _FILES)
        runtime = [str(path) for path in sorted(_SOURCES.glob("*.c")) if not path.name.startswith(others)]
        _compile((*command, *runtime, str(built / "rest.c"), "-lpthread", "-ldl"), built / "libphantom.so")
        files = map(str, sorted(_SOURCES.glob(f"{_FILES}*.c")))
        _compile((*command, *files, "-lpthread", "-ldl"), built / "libphantom_files.so")
        linked = (f"-L{built}", "-lphantom", "-Wl,-rpath,$ORIGIN", "-lpthread")
        for name, stem in _OTHER_LIBRARIES.items():
            sources = (*map(str, sorted(_SOURCES.glob(f"{stem}*.c"))), str(built / f"{stem}_rest.c"))
            _compile((*command, f"-Wl,-soname,{name}", *sources, *linked), built / name)
        (built / "libcuda.so").symlink_to("libcuda.so.1")  # what Triton links against, up to that of torch 2.9
        names = ("libphantom.so", "libphantom_files.so", *_OTHER_LIBRARIES, "libcuda.so")
        keep(built, folder, names)


def _compile(command: tuple[str, ...], output: Path) -> None:
    run = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True, errors="replace", check=False)
    if run.returncode != 0:
        first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr.strip()[:300])
        raise DeviceError(f"the phantom GPU could not be compiled with {command[0]}: {first}")
    if not output.is_file() or output.read_bytes()[:4] != b"\x7fELF":
        raise DeviceError(f"the phantom GPU could not be compiled with {command[0]}: it has written no library")
