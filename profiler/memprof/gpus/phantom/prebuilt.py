"""The phantom's libraries that the Linux wheel of memprof brings, one set for each major version of CUDA.

Within a major version, CUDA and cuDNN keep their binary interfaces. A wheel of another platform has no such libraries,
and an installation from source has none; they are then compiled at the first use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from memprof.gpus.phantom.compiling import LIBRARIES, compile_libraries, digest_sources

_FOLDER = Path(__file__).with_name("prebuilt")
_DESCRIPTION = "sources.json"


def find_prebuilt(cuda_major: int) -> Path | None:
    """Return the folder with libraries for that CUDA, or ``None`` if there is none that fits these sources."""
    folder = _FOLDER / f"cuda{cuda_major}"
    try:
        described = json.loads((folder / _DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return None
    return folder if described == {"sources": digest_sources()} else None


def copy_prebuilt(prebuilt: Path, folder: Path) -> None:
    """Copy the libraries into `folder`.

    Raises:
        OSError: a file is missing, or the file system refuses.
    """
    for name in LIBRARIES:
        if name == "libcuda.so":
            (folder / name).symlink_to("libcuda.so.1")  # a wheel cannot have links
        else:
            shutil.copy(prebuilt / name, folder / name)


def prebuild(compiler: Sequence[str], headers: Mapping[int, Sequence[Path]], folder: Path = _FOLDER) -> list[Path]:
    """Compile the libraries for each major version in `headers` into `folder`, and return the files to ship.

    Raises:
        DeviceError: the compiler fails.
    """
    shipped = []
    for major, include_folders in headers.items():
        target = folder / f"cuda{major}"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        compile_libraries(compiler, include_folders, target)
        (target / _DESCRIPTION).write_text(json.dumps({"sources": digest_sources()}))
        shipped += [target / name for name in (*LIBRARIES, _DESCRIPTION) if name != "libcuda.so"]
    return shipped
