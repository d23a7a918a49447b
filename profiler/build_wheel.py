"""Hatchling's build hook: with MEMPROF_PREBUILT it compiles the phantom's libraries into the wheel (`make wheel`).

MEMPROF_PREBUILT is a folder with the headers of each major version of CUDA: `cuda12/` and `cuda13/`, into which pip has
installed NVIDIA's packages. Without the variable the wheel has no libraries; they are then compiled at the first use.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_VARIABLE = "MEMPROF_PREBUILT"
# PyTorch's own wheels need glibc 2.28 since 2.6. The libraries of $CC need that of the machine that runs it.
_COMPILER = (sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.28")
_TAG = "py3-none-manylinux_2_28_x86_64"


class PrebuiltLibraries(BuildHookInterface[Any]):
    """Compiles the libraries, and gives the wheel the tag of the platform that they are for."""

    PLUGIN_NAME = "custom"
    _scratch: Path | None = None

    def dependencies(self) -> list[str]:
        """Return the packages that the hook imports."""
        compiler = [] if os.environ.get("CC") else ["ziglang>=0.13"]
        return ["nvidia-ml-py>=12.560", *compiler] if os.environ.get(_VARIABLE) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the libraries to the files of a wheel; an editable installation needs none."""
        headers = os.environ.get(_VARIABLE)
        if not headers or version == "editable":
            return
        sys.path.insert(0, str(Path(self.root, "profiler")))
        from memprof.gpus.phantom.prebuilt import prebuild

        folders = {int(cuda.name[4:]): _include_folders(cuda) for cuda in sorted(Path(headers).glob("cuda*"))}
        if not folders:
            raise FileNotFoundError(f"{_VARIABLE}={headers} has no folder cuda12 or cuda13")
        self._scratch = Path(tempfile.mkdtemp(prefix="memprof-prebuilt-"))
        compiler = shlex.split(os.environ.get("CC", "")) or _COMPILER
        for path in prebuild(compiler, folders, self._scratch):
            target = Path("memprof", "gpus", "phantom", "prebuilt", path.parent.name, path.name)
            build_data["force_include"][str(path)] = str(target)
        build_data["tag"], build_data["pure_python"] = _TAG, False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the libraries, which are now in the wheel."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch)


def _include_folders(cuda: Path) -> list[Path]:
    return sorted(cuda.glob("nvidia/*/include"))
