"""Every way to save a checkpoint that is in wide use, over one that is already there, and reading it back.

Started in a folder that holds older files of the same names. Each way prints what it has read back.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver

warnings.simplefilter("ignore")
FOLDER = Path("out")
SHAPE = (300, 300)


def tensors() -> dict[str, torch.Tensor]:
    return {"weight": torch.ones(SHAPE, device="cuda"), "bias": torch.ones(300, device="cuda")}


def shapes(state: Any) -> list[list[int]]:
    return [list(tensor.shape) for tensor in state.values()]


def by_path(path: Path) -> Any:
    torch.save(tensors(), path)
    return shapes(torch.load(path))


def by_file_object(path: Path) -> Any:
    with path.open("wb") as file:
        torch.save(tensors(), file)
    with path.open("rb") as file:
        return shapes(torch.load(file))


def by_buffer(path: Path) -> Any:
    buffer = io.BytesIO()
    torch.save(tensors(), buffer)
    path.write_bytes(buffer.getvalue())
    return shapes(torch.load(path, mmap=True, map_location="cpu"))


def legacy(path: Path) -> Any:
    torch.save(tensors(), path, _use_new_zipfile_serialization=False)
    return shapes(torch.load(path))


def by_replacing(path: Path) -> Any:
    temporary = path.with_suffix(".tmp")
    torch.save(tensors(), temporary)
    os.replace(temporary, path)
    return [*shapes(torch.load(path)), temporary.exists()]


def as_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file, save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors().items()}, path)
    return shapes(load_file(path, device="cuda"))


def by_pickle(path: Path) -> Any:
    with path.open("wb") as file:
        pickle.dump({name: tensor.cpu() for name, tensor in tensors().items()}, file)
    return shapes(pickle.loads(path.read_bytes()))


def as_array(path: Path) -> Any:
    with path.open("wb") as file:
        np.save(file, tensors()["weight"].cpu().numpy())
    return list(np.load(path).shape)


def as_arrays(path: Path) -> Any:
    with path.open("wb") as file:
        np.savez(file, weight=tensors()["weight"].cpu().numpy(), bias=tensors()["bias"].cpu().numpy())
    return shapes(dict(np.load(path)))


def distributed(path: Path) -> Any:
    state = tensors()
    state_dict_saver.save(state, checkpoint_id=path)
    state_dict_loader.load(state, checkpoint_id=path)
    return shapes(state)


def by_copy(path: Path) -> Any:
    last = path.with_name("last.pth")
    torch.save(tensors(), last)
    shutil.copy(last, path)
    return shapes(torch.load(path))


def by_command(path: Path) -> Any:
    last = path.with_name("newest.pth")
    torch.save(tensors(), last)
    subprocess.run(["cp", str(last), str(path)], check=True)
    return shapes(torch.load(path))


def exported(path: Path) -> Any:
    torch.jit.script(nn.Linear(300, 300).cuda()).save(str(path))
    return shapes(torch.jit.load(str(path)).state_dict())


def deleted(path: Path) -> Any:
    path.unlink()
    return [path.exists(), path.name in os.listdir(path.parent)]


def moved(path: Path) -> Any:
    """The older file is kept under another name, as for rotation; then a new one is written."""
    older = path.with_name("older.pt")
    before = path.read_bytes()
    path.rename(older)
    torch.save(tensors(), path)
    return [older.read_bytes() == before, *shapes(torch.load(path))]


WAYS: dict[str, Callable[[Path], Any]] = {
    "best.pt": by_path,
    "file.pth": by_file_object,
    "buffer.ckpt": by_buffer,
    "legacy.pt": legacy,
    "replaced.pt": by_replacing,
    "model.safetensors": as_safetensors,
    "array.npy": as_array,
    "arrays.npz": as_arrays,
    "distributed": distributed,
    "copied.pt": by_copy,
    "cp.pt": by_command,
    "exported.pt": exported,
    "deleted.pt": deleted,
    "moved.pt": moved,
    # the content alone decides
    "path.bin": by_path,
    "file.bin": by_file_object,
    "legacy.model": legacy,
    "replaced.bin": by_replacing,
    "weights.bin": as_safetensors,
    "pickled.pkl": by_pickle,
    "array.dat": as_array,
    "arrays.dat": as_arrays,
    "copied.bin": by_copy,
    "cp.bin": by_command,
    "checkpoint.pth.tar": by_copy,
}

if __name__ == "__main__":
    installed = importlib.util.find_spec("safetensors") is not None
    ways = {name: way for name, way in WAYS.items() if installed or way is not as_safetensors}
    print(json.dumps({name: way(FOLDER / name) for name, way in ways.items()}))
