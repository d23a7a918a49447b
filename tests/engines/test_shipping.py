"""What a runner on another machine gets of the user's files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memprof.config.load import LoadedConfig, load
from memprof.engines import shipping
from memprof.engines.scratch import scratch_folder
from memprof.engines.shipping import LARGEST_NEIGHBOUR_BYTES, pack
from memprof.errors import ConfigError
from tests.samples import sample_loaded


def write(path: Path, content: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def write_config(folder: Path, model: str) -> LoadedConfig:
    write(
        folder / "own.yaml", f"model: {model}\ninput: {{shape: [4]}}\nloss: sum\noptimizers: [sgd]\nbatch_sizes: [1]\n"
    )
    return load(folder / "own.yaml")


def test_pack_ships_what_lies_next_to_the_model(tmp_path: Path) -> None:
    for name in ("net.py", "parts/block.py", "vocabulary.json", ".git/config", "__pycache__/net.pyc", "env/pyvenv.cfg"):
        write(tmp_path / name)
    write(tmp_path / "env" / "package.py")
    write(tmp_path / "results" / "net" / "20261129-000000" / "manifest.json", "{}")
    write(tmp_path / "weights.bin", "w" * (LARGEST_NEIGHBOUR_BYTES + 1))
    shipment = pack([write_config(tmp_path, "net.py:build")])
    assert sorted(shipment.files) == ["net.py", "own.yaml", "parts/block.py", "vocabulary.json"]


def test_scratch_folder_of_a_killed_runner_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = (
        "import os, tempfile; from memprof.engines.scratch import scratch_folder\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\nwith scratch_folder(): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", source], check=False)
    (left,) = tmp_path.iterdir()
    with scratch_folder() as first, scratch_folder() as second:
        assert not left.exists()
        assert first.is_dir()  # the second runner left the folder of the first, which is alive
        assert second.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_pack_of_a_built_in_model_ships_nothing(tmp_path: Path) -> None:
    write(tmp_path / "net.py")
    assert dict(pack([sample_loaded(tmp_path)]).files) == {}


def test_pack_keeps_paths_that_leave_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "models" / "net.py", "model")
    loaded = write_config(tmp_path / "configs", "../models/net.py:build")
    other = sample_loaded(tmp_path / "elsewhere")
    places = pack([loaded, other]).unpack(tmp_path / "runner")
    assert (places[loaded.folder] / "../models/net.py").read_text() == "model"
    assert places[other.folder].is_dir()


def test_pack_of_large_files_is_refused_with_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "MOST_BYTES", 1000)
    write(tmp_path / "net.py", "n" * 600)
    write(tmp_path / "data.csv", "d" * 700)
    with pytest.raises(ConfigError, match=r"more than 1000 B: the largest is .*data\.csv; put the model"):
        pack([write_config(tmp_path, "net.py:build")])
