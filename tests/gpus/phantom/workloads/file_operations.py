"""Random operations on files in the current folder, always the same for the same seed; prints what they see.

Started twice, once with and once without the library that keeps checkpoints apart, it must print the same.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import sys
from collections.abc import Callable
from typing import Any

ARRAY = b"\x93NUMPY\x01\x00" + b"x" * 50
ARCHIVE = b"PK\x03\x04" + bytes(22) + b"\x10\0\0\0" + b"archive/data.pkl" + b"y" * 100
CONTENTS = (ARRAY, ARCHIVE, b"hello\n", b"{}", b"", b"a text that is longer than the others " * 10)
FOLDERS = (".", "a", "a/b", "checkpoint-1", "a/checkpoint-2", "c", "tmp-checkpoint-1", "link")
NAMES = ("best.pt", "model.bin", "log.txt", "x.json", "last.ckpt", "trainer_state.json", "m.npy", "sub", "latest")


class Operations:
    """Picks operations by the seed and does them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def path(self) -> str:
        folder, name = self.random.choice(FOLDERS), self.random.choice(NAMES)
        path = os.path.join(folder, name) if self.random.random() < 0.85 else folder
        chance = self.random.random()
        if chance < 0.1:
            return os.path.abspath(path)
        return os.path.join(".", "c", "..", path) if chance < 0.15 else path

    def folder(self) -> str:
        return self.random.choice((*FOLDERS[1:], "d1", "d2", "a/d3"))

    def write(self, mode: str, path: str) -> None:
        content = self.random.choice(CONTENTS)
        with open(path, mode) as file:
            file.write(content)
            if self.random.random() < 0.3:
                file.flush()
                file.write(content)

    def overwrite(self) -> Any:
        return self.write("wb", self.path())

    def create(self) -> Any:
        return self.write("xb", self.path())

    def append(self) -> Any:
        return self.write("ab", self.path())

    def change(self) -> Any:
        return self.write("r+b", self.path())

    def read(self) -> Any:
        with open(self.path(), "rb") as file:
            return file.read().decode("latin-1")

    def stat(self) -> Any:
        return seen(os.stat(self.path()))

    def lstat(self) -> Any:
        return seen(os.lstat(self.path()))

    def list_folder(self) -> Any:
        return sorted(os.listdir(self.path()))

    def list_by_descriptor(self) -> Any:
        path = self.path()
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            return [sorted(os.listdir(folder)), seen(os.stat(os.path.basename(path), dir_fd=folder))]
        finally:
            os.close(folder)

    def exists(self) -> Any:
        path = self.path()
        return [os.path.exists(path), os.path.lexists(path), os.path.isdir(path), os.access(path, os.R_OK)]

    def delete(self) -> Any:
        return os.unlink(self.path())

    def rename(self) -> Any:
        before, after = self.path(), self.path()
        return "." if "." in (os.path.basename(before), os.path.basename(after)) else os.replace(before, after)

    def rename_folder(self) -> Any:
        return os.replace(self.folder(), self.folder())

    def replace_by_temporary(self) -> Any:
        path = self.path()
        if os.path.basename(path) == ".":
            return None
        temporary = os.path.join(os.path.dirname(path) or ".", "temporary")
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, self.random.choice(CONTENTS))
        os.close(file)
        return os.replace(temporary, path)

    def make_folder(self) -> Any:
        return os.mkdir(self.path() if self.random.random() < 0.5 else self.random.choice(FOLDERS))

    def make_folders(self) -> Any:
        return os.makedirs(self.folder(), exist_ok=True)

    def delete_folder(self) -> Any:
        return os.rmdir(self.folder())

    def delete_tree(self) -> Any:
        return shutil.rmtree(self.folder()) if self.random.random() < 0.4 else None

    def make_link(self) -> Any:
        return os.symlink(os.path.basename(self.path()), self.path())

    def read_link(self) -> Any:
        return os.readlink(self.path())

    def truncate(self) -> Any:
        return os.truncate(self.path(), 3)

    def change_mode(self) -> Any:
        return os.chmod(self.path(), 0o640)

    def copy(self) -> Any:
        shutil.copyfile(self.path(), self.path())

    def copy_all(self) -> Any:
        shutil.copy2(self.path(), self.path())

    def move(self) -> Any:
        shutil.move(self.path(), self.path())

    def run_one(self) -> list[Any]:
        often = (self.overwrite, self.delete, self.rename)
        choices: tuple[Callable[[], Any], ...] = (
            *often, *often, self.create, self.append, self.change, self.read, self.stat, self.lstat, self.list_folder,
            self.list_by_descriptor, self.exists, self.rename_folder, self.replace_by_temporary, self.make_folder,
            self.make_folders, self.delete_folder, self.delete_tree, self.make_link, self.read_link, self.truncate,
            self.change_mode, self.copy, self.copy_all, self.move,
        )  # fmt: skip
        chosen = self.random.choice(choices)
        try:
            return [chosen.__name__, chosen()]
        except shutil.Error:
            return [chosen.__name__, "shutil.Error"]
        except OSError as error:
            return [chosen.__name__, error.errno]


def seen(found: os.stat_result) -> list[int]:
    return [stat.S_IFMT(found.st_mode), 0 if stat.S_ISDIR(found.st_mode) else found.st_size]


def tree(folder: str = ".") -> list[Any]:
    found: list[Any] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = os.path.join(folder, entry.name)
        try:
            found.append([path, entry.is_dir(follow_symlinks=False), entry.is_file(), entry.is_symlink()])
            with open(path, "rb") as file:
                found.append(file.read().decode("latin-1"))
        except OSError as error:
            found.append([path, error.errno])
        if entry.is_dir(follow_symlinks=False):
            found += tree(path)
    return found


def main(seed: int, steps: int) -> None:
    operations = Operations(seed)
    for step in range(steps):
        print(step, json.dumps(operations.run_one()))
        if operations.random.random() < 0.1:
            print(step, json.dumps(tree()))
    print(json.dumps(tree()))


main(int(sys.argv[1]), int(sys.argv[2]))
