"""The installed PyTorch and CUDA, found without importing torch, which takes seconds."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_CUDNN_VERSION = re.compile(r"#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) (\d+)")
_CUDART_VERSION = re.compile(r"#define CUDART_VERSION\s+(\d+)")
_TORCH_VERSION = re.compile(r"^__version__[^=]*= '([^']+)'", re.MULTILINE)
# The lowest compute capability from a version of CUDA on. CUDA 13.0 dropped Volta (its release notes), and PyTorch's
# builds for CUDA 12.8 and 12.9 have no code for Pascal (`torch.cuda.get_arch_list()` of 2.9.1).
_LOWEST = {(13, 0): (7, 5), (12, 8): (7, 0)}
_TORCH_CUDA = re.compile(r"^cuda[^=]*= '([\d.]+)'", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class TorchInstall:
    """The installed torch and CUDA wheels. `cuda_version` is ``None`` for a CPU build."""

    torch_version: str
    cuda_version: str | None
    folder: Path  # of the package torch
    include_folders: tuple[Path, ...]  # of the CUDA wheels
    cudart_version: str | None  # CUDART_VERSION of the headers, e.g. "13000"
    cudnn_version: str | None  # of the headers, e.g. "9.24.0"

    def read_header(self, name: str) -> str:
        """Return the text of a header of the CUDA wheels, or an empty string if there is none."""
        return _read_header(self.include_folders, name)

    def has_dropped(self, capability: tuple[int, int]) -> bool:
        """Return whether this PyTorch has no code for GPUs of that compute capability, so that no kernel can run."""
        return capability < self.lowest_capability

    @property
    def lowest_capability(self) -> tuple[int, int]:
        """The lowest compute capability that this PyTorch has code for; (0, 0) if it has code for every GPU."""
        if self.cuda_version is None:
            return 0, 0
        cuda = tuple(map(int, self.cuda_version.split(".")))
        return next((lowest for first, lowest in _LOWEST.items() if cuda >= first), (0, 0))

    @property
    def cuda_number(self) -> int:
        """The version of CUDA, as CUDART_VERSION counts: 13000 for 13.0; 0 for a CPU build."""
        if self.cudart_version is not None:
            return int(self.cudart_version)
        major, minor, *_ = (*map(int, (self.cuda_version or "0").split(".")), 0)
        return 1000 * major + 10 * minor

    @property
    def libraries(self) -> tuple[Path, ...]:
        """The shared libraries of torch and torchvision, whose CUDA imports the phantom must provide."""
        vision = self.folder.parent / "torchvision"
        return (*sorted((self.folder / "lib").glob("*.so*")), *sorted(vision.glob("*.so")))


def find_torch() -> TorchInstall | None:
    """Return the torch that `import torch` would import, or ``None`` if there is none."""
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
