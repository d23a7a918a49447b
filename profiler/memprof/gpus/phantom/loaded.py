"""Which of the phantom's libraries a process has loaded, and whether each is what memprof has built.

The process reads its own memory map. memprof then compares each library with the manifest of the build.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from memprof.gpus.phantom.cache import built_files

# Names under which programs and the dynamic linker look for the driver's libraries, with the phantom's own.
_NAMES = ("libphantom", "libcuda.so", "libnvidia-ml.so")
_DELETED = " (deleted)"  # proc(5): what the kernel adds to the path of a mapped file that is no longer there


def loaded_libraries() -> tuple[str, ...]:
    """Return the paths of the libraries in this process that have a name of the phantom or of the driver."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    # Address, permissions, offset, device and inode come first; the path may contain spaces.
    paths = {fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6}
    return tuple(sorted(path for path in paths if os.path.basename(path).startswith(_NAMES)))


def problem_of_loaded(paths: Iterable[str], folder: Path) -> str | None:
    """Return in a few words what is wrong with the loaded libraries; ``None`` if nothing is.

    Right is: each library of the build in `folder` is loaded, has the hash of the manifest, and no other library has
    one of their names.
    """
    wanted = dict(_libraries(folder.resolve()))
    loaded = set(paths)
    for path in sorted(loaded):
        if path.endswith(_DELETED):
            return f"{path.removesuffix(_DELETED)} was replaced after it had been loaded"
        if path not in wanted:
            return f"{path} is loaded, and memprof has not built it"
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() != wanted[path]:
            return f"{path} has another hash than its build"
    missing = [path for path in wanted if path not in loaded]
    return f"{missing[0]} is not loaded" if missing else None


def _libraries(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the hash of each library of the build in `folder`."""
    files: Mapping[str, str] = built_files(folder)
    yield from ((str(folder / name), digest) for name, digest in files.items() if not digest.startswith("link to "))
