"""The phantom's libraries in the user's cache folder: prebuilt or compiled, once for each version of CUDA."""

from __future__ import annotations

import errno
import importlib.util
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from memprof.errors import DeviceError
from memprof.gpus.phantom.cache import BUILDING, is_intact, keep, open_cache, remove_left_over, without_separators
from memprof.gpus.phantom.compiling import LIBRARIES, compile_libraries, digest_build, digest_sources
from memprof.gpus.phantom.prebuilt import copy_prebuilt, find_prebuilt
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch

_OTHER_FOLDER = "set MEMPROF_CACHE_DIR to another folder"


@dataclass(frozen=True, kw_only=True)
class PhantomLibraries:
    """The folder with the libraries, one of which is preloaded, and the installed CUDA, as CUDART_VERSION counts."""

    folder: Path
    cuda_version: int | None = None

    @property
    def preload(self) -> Path:
        """The library that replaces the CUDA runtime, cuBLAS and cuDNN."""
        return self.folder / "libphantom.so"

    @property
    def files(self) -> Path:
        """The library that keeps checkpoints apart from the user's files; `memprof run` preloads it too."""
        return self.folder / "libphantom_files.so"

    @property
    def torch(self) -> Path:
        """The library that notes what PyTorch's allocator counts; `memprof run` preloads it too."""
        return self.folder / "libphantom_torch.so"


def build_phantom() -> PhantomLibraries:
    """Return the phantom's libraries; the first use copies or builds them.

    Two processes may build at once: each builds in its own folder, and the first to finish keeps the name.

    Raises:
        DeviceError: phantoms are unavailable on this machine; the message gives the reason and what to do.
    """
    install = _usable_torch()
    try:
        folder = _prebuilt(install) or _compiled(install)
        return PhantomLibraries(folder=without_separators(folder), cuda_version=install.cuda_number)
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


def _prebuilt(install: TorchInstall) -> Path | None:
    """Return the cache folder with the libraries that the wheel brought, or ``None`` if it brought none that fit."""
    major = install.cuda_number // 1000
    prebuilt = find_prebuilt(major)
    if prebuilt is None:
        return None
    folder = open_cache(cache_folder()) / f"cuda{major}-prebuilt-{digest_sources()[:16]}"
    if not is_intact(folder):
        with _scratch_beside(folder) as scratch:
            copy_prebuilt(prebuilt, scratch)
            keep(scratch, folder, LIBRARIES)
    return folder


def _compiled(install: TorchInstall) -> Path:
    _require_headers(install)
    versions = f"cuda{install.cudart_version}-cudnn{install.cudnn_version}"
    folder = open_cache(cache_folder()) / f"{versions}-{digest_build(install.include_folders)[:16]}"
    if not is_intact(folder):
        compiler = find_compiler()
        with _scratch_beside(folder) as scratch:
            compile_libraries(compiler, install.include_folders, scratch)
            keep(scratch, folder, LIBRARIES)
    return folder


@contextmanager
def _scratch_beside(folder: Path) -> Iterator[Path]:
    remove_left_over(folder.parent)
    with tempfile.TemporaryDirectory(prefix=BUILDING, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)
