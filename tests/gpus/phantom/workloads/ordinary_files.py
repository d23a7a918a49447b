"""Files that are no checkpoints, written in the current folder, which holds older files of the same names."""

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

# What a run has besides checkpoints: each of them ends up as it would without memprof.
logging.basicConfig(filename="train.log", filemode="w", format="%(message)s", level=logging.INFO)
logging.info("step 1")
Path("metrics.json").write_text(json.dumps({"loss": 0.5}))
with open("metrics.csv", "w", newline="") as file:
    csv.writer(file).writerows([["step", "loss"], [1, 0.5]])
with open("appended.txt", "a") as file:
    file.write("one more line\n")
with open("changed.txt", "r+") as file:
    file.write("CHANGED")
with gzip.GzipFile("log.gz", "wb", mtime=0) as file:
    file.write(b"compressed")
with zipfile.ZipFile("archive.zip", "w") as archive:
    archive.writestr(zipfile.ZipInfo("notes.txt"), "an ordinary archive")
with open("events.out.tfevents.1.host", "wb") as file:  # length, its checksum, the event, its checksum
    file.write(struct.pack("<QI", 24, 0xA37F4B22) + b"event" * 4 + bytes(8))
with open("history.pkl", "wb") as file:
    pickle.dump({"loss": [0.5] * 1000}, file)
with open("small.pkl", "wb", buffering=0) as file:
    pickle.dump([0.5], file)
with open("values.bin", "wb") as file:
    file.write(bytes(1000))  # no format that can be recognized
with open("mapped.txt", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
    mapped[:6] = b"MAPPED"
with open("output.txt", "w") as file:
    subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=file, check=True)
subprocess.run("echo from a shell > shell.txt; echo more >> shell.txt", shell=True, check=True)
with open("emptied.txt", "w"):
    pass
Path("deleted.txt").unlink()
os.replace("renamed.txt", "new name.txt")
with tempfile.NamedTemporaryFile("w", dir=".", delete=False) as file:
    file.write("replaced atomically")
os.replace(file.name, "atomic.txt")
Path("folder/inside").mkdir(parents=True)
Path("folder/inside/note.txt").write_text("in a new folder")
connection = sqlite3.connect("results.db")
connection.execute("create table losses (step int, loss real)")
connection.commit()
connection.close()

with open("state.lock", "w") as first:  # a lock that one holds, no other gets
    fcntl.flock(first, fcntl.LOCK_EX)
    attempt = "import fcntl, sys; fcntl.flock(open('state.lock', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    second = subprocess.run([sys.executable, "-c", attempt], stderr=subprocess.PIPE, check=False)
    assert b"BlockingIOError" in second.stderr, second.stderr
try:
    os.close(os.open("state.lock", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    print("locks hold")
