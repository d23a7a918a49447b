"""Files that are no checkpoints, written in the current folder, which holds older files of the same names.

Each of them must end up as it would without memprof.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import json
import logging
import mmap
import os
import pickle
import sqlite3
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

file: Any  # of text, of bytes, or compressed

SECOND_LOCK = "import fcntl; fcntl.flock(open('state.lock', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def write_logs() -> None:
    logging.basicConfig(filename="train.log", filemode="w", format="%(message)s", level=logging.INFO)
    logging.info("step 1")
    Path("metrics.json").write_text(json.dumps({"loss": 0.5}))
    with open("metrics.csv", "w", newline="") as table:
        csv.writer(table).writerows([["step", "loss"], [1, 0.5]])
    with open("events.out.tfevents.1.host", "wb") as events:  # length, its checksum, the event, its checksum
        events.write(struct.pack("<QI", 24, 0xA37F4B22) + b"event" * 4 + bytes(8))
    with open("appended.txt", "a") as text:
        text.write("one more line\n")


def write_archives() -> None:
    with gzip.GzipFile("log.gz", "wb", mtime=0) as compressed:
        compressed.write(b"compressed")
    with zipfile.ZipFile("archive.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("notes.txt"), "an ordinary archive")
    with open("history.pkl", "wb") as buffered:
        pickle.dump({"loss": [0.5] * 1000}, buffered)
    with open("small.pkl", "wb", buffering=0) as unbuffered:
        pickle.dump([0.5], unbuffered)
    Path("values.bin").write_bytes(bytes(1000))  # no format that can be recognized


def change_in_place() -> None:
    with open("changed.txt", "r+") as text:
        text.write("CHANGED")
    with open("mapped.txt", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:6] = b"MAPPED"
    with open("emptied.txt", "w"):
        pass


def write_by_others() -> None:
    with open("output.txt", "w") as output:
        subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=output, check=True)
    subprocess.run("echo from a shell > shell.txt; echo more >> shell.txt", shell=True, check=True)
    connection = sqlite3.connect("results.db")
    connection.execute("create table losses (step int, loss real)")
    connection.commit()
    connection.close()


def rename_and_delete() -> None:
    Path("deleted.txt").unlink()
    os.replace("renamed.txt", "new name.txt")
    with tempfile.NamedTemporaryFile("w", dir=".", delete=False) as temporary:
        temporary.write("replaced atomically")
    os.replace(temporary.name, "atomic.txt")
    Path("folder/inside").mkdir(parents=True)
    Path("folder/inside/note.txt").write_text("in a new folder")


def lock() -> None:
    """A lock that one process holds, no other gets."""
    with open("state.lock", "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.run([sys.executable, "-c", SECOND_LOCK], stderr=subprocess.PIPE, check=False)
    assert b"BlockingIOError" in second.stderr, second.stderr
    try:
        os.close(os.open("state.lock", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        print("locks hold")


for step in (write_logs, write_archives, change_in_place, write_by_others, rename_and_delete, lock):
    step()
