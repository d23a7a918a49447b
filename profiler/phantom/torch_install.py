"""What of PyTorch and CUDA is installed, found without importing torch: that takes seconds."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_CUDNN_VERSION = re.compile(r"#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) (\d+)")
_CUDART_VERSION = re.compile(r"#define CUDART_VERSION\s+(\d+)")
_TORCH_VERSION = re.compile(r"^__version__[^=]*= '([^']+)'", re.MULTILINE)
# The first CUDA without Maxwell, Pascal and Volta, and the lowest capability that it knows: release notes of CUDA 13.0.
_FIRST_WITHOUT_VOLTA, _TURING = 13, (7, 5)
_TORCH_CUDA = re.compile(r"^cuda[^=]*= '([\d.]+)'", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class TorchInstall:
    """The installed torch and the CUDA wheels beside it. `cuda_version` is ``None`` for a CPU build."""

    torch_version: str
    cuda_version: str | None
    folder: Path  # of the package torch
    include_folders: tuple[Path, ...]  # of the CUDA wheels
    cudart_version: str | None  # CUDART_VERSION of the headers, e.g. "13000"
    cudnn_version: str | None  # of the headers, e.g. "9.24.0"

    def read_header(self, name: str) -> str:
        """Return the text of a header of the CUDA wheels, or nothing where it is not there."""
        return _read_header(self.include_folders, name)

    def has_dropped(self, capability: tuple[int, int]) -> bool:
        """Whether this PyTorch's CUDA no longer compiles for GPUs of that compute capability, so that none can run."""
        if self.cuda_version is None:
            return False
        return int(self.cuda_version.split(".")[0]) >= _FIRST_WITHOUT_VOLTA and capability < _TURING

    @property
    def libraries(self) -> tuple[Path, ...]:
        """The shared libraries of torch and torchvision, whose imports the phantom must answer."""
        vision = self.folder.parent / "torchvision"
        return (*sorted((self.folder / "lib").glob("*.so*")), *sorted(vision.glob("*.so")))


def find_torch() -> TorchInstall | None:
    """Return the torch that `import torch` would take, or ``None`` where there is none."""
    spec = importlib.util.find_spec("torch")
    version_file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if version_file is None or not version_file.is_file():
        return None
    folder, text = version_file.parent, version_file.read_text(encoding="utf-8")
    version, cuda = _TORCH_VERSION.search(text), _TORCH_CUDA.search(text)
    include_folders = tuple(sorted((folder.parent / "nvidia").glob("*/include")))
    return TorchInstall(
        torch_version=version[1] if version else "of an unknown version",
        cuda_version=cuda[1] if cuda else None,
        folder=folder,
        include_folders=include_folders,
        cudart_version=_cudart_version(include_folders),
        cudnn_version=_cudnn_version(include_folders),
    )


def _read_header(include_folders: tuple[Path, ...], name: str) -> str:
    found = next((folder / name for folder in include_folders if (folder / name).is_file()), None)
    return found.read_text(encoding="utf-8", errors="replace") if found else ""


def _cudart_version(include_folders: tuple[Path, ...]) -> str | None:
    found = _CUDART_VERSION.search(_read_header(include_folders, "cuda_runtime_api.h"))
    return found[1] if found else None


def _cudnn_version(include_folders: tuple[Path, ...]) -> str | None:
    parts = dict(_CUDNN_VERSION.findall(_read_header(include_folders, "cudnn_version.h")))
    return ".".join(parts[name] for name in ("MAJOR", "MINOR", "PATCHLEVEL")) if len(parts) == 3 else None
