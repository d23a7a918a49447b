"""`memprof run` keeps checkpoints apart: the user's stay as they are, the script finds its own."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memprof.errors import ConfigError
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.writes import Writes, choose_writes, scratch_folder
from tests.gpus.phantom.checkpoints import hashes, memprof_run, write_older

PAIR = [[300, 300], [300]]  # a weight and a bias
WAYS = {
    **dict.fromkeys(("best.pt", "file.pth", "buffer.ckpt", "legacy.pt", "copied.pt", "cp.pt", "exported.pt"), PAIR),
    "replaced.pt": [*PAIR, False],
    "model.safetensors": PAIR[::-1],
    "array.npy": PAIR[0],
    "arrays.npz": PAIR,
    "distributed": PAIR,
    "deleted.pt": [False, False],
    "moved.pt": [True, *PAIR],
    **dict.fromkeys(("path.bin", "file.bin", "legacy.model", "pickled.pkl", "copied.bin", "cp.bin"), PAIR),
    "replaced.bin": [*PAIR, False],
    "weights.bin": PAIR[::-1],
    "array.dat": PAIR[0],
    "arrays.dat": PAIR,
    "checkpoint.pth.tar": PAIR,
}
NEEDED = {"model.safetensors": "safetensors", "weights.bin": "safetensors"}
SCRATCH = "import os; print(os.environ.get('MEMPROF_WRITES'))"
SAVE = f"open('best.pt', 'wb').write(b'zeros'); print(open('best.pt', 'rb').read().decode(), end=' '); {SCRATCH}"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One run that saved in every way: what it printed, and the files of its folder before and after."""

    printed: Mapping[str, Any]
    stderr: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    folder: Path
    kept: Path  # the scratch folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, phantom_libraries: PhantomLibraries) -> Iterator[Saved]:
    assert phantom_libraries.files.is_file()
    folder = tmp_path_factory.mktemp("saving")
    names = [name for name in WAYS if name != "distributed"]
    write_older(folder / "out", [*names, "distributed/.metadata", "distributed/__0_0.distcp", "notes.txt"])
    before = hashes(folder)
    finished = memprof_run(folder, "saving.py")
    assert finished.returncode == 0, finished.stderr
    kept = re.search(r"kept out of ./out: (.+)", finished.stderr)
    assert kept is not None, finished.stderr
    yield Saved(
        printed=json.loads(finished.stdout),
        stderr=finished.stderr,
        before=before,
        after=hashes(folder),
        folder=folder,
        kept=Path(kept[1]),
    )
    shutil.rmtree(kept[1])


@pytest.mark.parametrize("name", WAYS)
def test_an_older_checkpoint_keeps_its_bytes(name: str, saved: Saved) -> None:
    if name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None:
        pytest.skip(f"not installed: {NEEDED[name]}; pip install -e '.[hub]'")
    files = [file for file in saved.before if file.startswith(f"out/{name}")]
    assert files
    assert {file: saved.after.get(file) for file in files} == {file: saved.before[file] for file in files}
    assert saved.printed[name] == WAYS[name]  # the script has read back its own


def test_a_run_leaves_no_file_where_it_saved(saved: Saved) -> None:
    assert saved.after == saved.before


def test_the_last_lines_name_the_folder_with_figures(saved: Saved) -> None:
    first, *_ = saved.stderr.splitlines()
    assert first == "memprof: simulated Tesla T4: tensor values are zeros, checkpoints are kept apart from your files"
    line = re.search(r"memprof: (\d+) checkpoint files \(([\d.]+) MiB, [\d.]+ .iB on disk\) kept", saved.stderr)
    assert line is not None, saved.stderr
    top = saved.kept / "files" / str(saved.folder / "out").lstrip("/")
    kept = [path for path in top.rglob("*") if path.is_file()]
    assert len(kept) == int(line[1])
    assert sum(path.stat().st_size for path in kept) == pytest.approx(float(line[2]) * 2**20, rel=0.01)
    assert (top / "best.pt").read_bytes().startswith(b"PK\x03\x04")
    assert "memprof: 1 file of older checkpoints that the command deleted is still there\n" in saved.stderr


def test_what_a_run_keeps_is_readable_by_the_user_alone(saved: Saved) -> None:
    assert saved.kept.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in saved.kept.iterdir()] == ["files"]


def save(folder: Path, writes: str) -> subprocess.CompletedProcess[str]:
    write_older(folder, ["best.pt"])
    finished = memprof_run(folder, "-c", SAVE, writes=writes)
    assert finished.stdout.startswith("zeros "), finished.stderr
    return finished


def test_discard_removes_what_the_run_saved(tmp_path: Path) -> None:
    finished = save(tmp_path, "discard")
    assert re.search(r"1 checkpoint file \([^)]+\) kept out of \.: removed\n", finished.stderr), finished.stderr
    assert not Path(finished.stdout.split()[1]).exists()
    assert (tmp_path / "best.pt").read_bytes().startswith(b"the older best.pt")


def test_allow_writes_where_the_command_says(tmp_path: Path) -> None:
    finished = save(tmp_path, "allow")
    assert finished.stderr.startswith(
        "memprof: simulated Tesla T4: tensor values are zeros, checkpoints replace your files\n"
    )
    assert "kept" not in finished.stderr
    assert (tmp_path / "best.pt").read_bytes() == b"zeros"


def test_a_run_that_saves_nothing_leaves_no_folder(tmp_path: Path) -> None:
    finished = memprof_run(tmp_path, "-c", f"open('log.txt', 'w').write('a line'); {SCRATCH}")
    assert "checkpoint file" not in finished.stderr
    assert (tmp_path / "log.txt").read_text() == "a line"
    assert not Path(finished.stdout.strip()).exists()


def test_an_unknown_choice_is_refused_in_one_line(tmp_path: Path) -> None:
    refused = memprof_run(tmp_path, "-c", "pass", writes="maybe")
    assert refused.returncode == 2
    assert refused.stderr == "memprof: --writes maybe: choose one of keep, discard, allow\n"


def test_a_choice_is_its_own_name() -> None:
    assert [choose_writes(text) for text in ("keep", "discard", "allow")] == [Writes.KEEP, Writes.DISCARD, Writes.ALLOW]
    with pytest.raises(ConfigError, match="choose one of keep, discard, allow"):
        choose_writes("KEEP")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEMPROF_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(
        ConfigError, match=r"no folder for checkpoints can be made in .+: Not a directory; use --writes allow"
    ):
        scratch_folder().__enter__()


@pytest.mark.parametrize(("given", "seen"), [({}, "offline"), ({"WANDB_MODE": "disabled"}, "disabled")])
def test_wandb_is_offline_unless_the_user_says_otherwise(
    given: Mapping[str, str], seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    finished = memprof_run(tmp_path, "-c", "import os; print(os.environ['WANDB_MODE'])", **given)
    assert finished.stdout == f"{seen}\n"


def test_zeros_take_no_space_on_the_disk(tmp_path: Path) -> None:
    code = """
parts = [b"PK" * 1000, bytes(2**28), b"the end"]
with open("large.pt", "wb", buffering=0) as file:
    assert [file.write(part) for part in parts] == [len(part) for part in parts]
with open("large.pt", "rb") as file:
    print(file.read() == b"".join(parts))
"""
    finished = memprof_run(tmp_path, "-c", code, writes="discard")
    assert finished.stdout == "True\n", finished.stderr
    figures = re.search(r"1 checkpoint file \(256.00 MiB, ([\d.]+) KiB on disk\)", finished.stderr)
    assert figures is not None, finished.stderr
    assert float(figures[1]) < 600


def test_ranks_read_each_others_checkpoints(tmp_path: Path) -> None:
    write_older(tmp_path, ["rank0.pt"])
    arguments = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    script = Path(__file__).with_name("workloads") / "two_ranks.py"
    finished = memprof_run(tmp_path, *arguments, str(script), writes="discard")
    assert finished.returncode == 0, finished.stderr
    # PyTorch 2.9 prints how Gloo connects.
    assert sorted(line for line in finished.stdout.splitlines() if not line.startswith("[Gloo]")) == [
        "0 has read 1 of ['rank0.pt', 'rank1.pt']",
        "1 has read 0 of ['rank0.pt', 'rank1.pt']",
    ]
    assert "memprof: 2 checkpoint files" in finished.stderr
    assert list(hashes(tmp_path)) == ["rank0.pt"]
