"""The pytest plugin, in sessions of its own on phantoms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import PACKAGE

TESTS = """
import os
import pytest

def use(mib):
    import torch
    return torch.empty(mib << 20, dtype=torch.uint8, device="cuda")

@pytest.mark.limit_gpu_memory("8 MiB", gpu="t4")
def test_small():
    use(8)

@pytest.mark.limit_gpu_memory("8 MiB", gpu="t4")
def test_large():
    use(9)

@pytest.mark.fits("rtx-4090", "t4")
def test_fits_one():
    import torch
    use(20_000)

def test_fixture(gpu_memory):
    use(4)
    assert gpu_memory.peak_allocated_bytes == 4 << 20
    gpu_memory.reset()
    assert gpu_memory.peak_allocated_bytes == 0

def test_plain():
    assert "MEMPROF_PHANTOM" not in os.environ
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    plugin = ("-p", "memprof.integrations.pytest_plugin", "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "COLUMNS": "120"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory,
    phantom_device_h100: object,  # noqa: ARG001  one can be built here
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A session of all tests, with two workers, that saves a baseline; its folder."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "test_memory.py").write_text(TESTS)
    return run(folder, "--gpu-memory", "-n", "2", "--gpu-memory-save", "memory.json", "-rA"), folder


Session = tuple[subprocess.CompletedProcess[str], Path]


def test_session_passes_and_fails_by_memory(session: Session) -> None:
    finished, _ = session
    assert finished.returncode == 1
    assert "2 failed, 3 passed" in finished.stdout, finished.stdout
    assert "peak allocated GPU memory 9.00 MiB on t4 (emulated) is above the limit of 8.00 MiB" in finished.stdout


def test_session_names_the_gpu_that_is_too_small(session: Session) -> None:
    assert "does not fit on t4: CUDA out of memory. Tried to allocate 19.53 GiB." in session[0].stdout


def test_session_lists_the_peaks(session: Session) -> None:
    summary = session[0].stdout.split("GPU memory (memprof)")[1]
    assert "  8.00 MiB  t4 emulated  test_memory.py::test_small\n" in summary
    assert "  9.00 MiB  t4 emulated  test_memory.py::test_large\n" in summary
    assert "test_plain" not in summary.split("saved")[0]


def test_session_saves_the_peaks(session: Session) -> None:
    saved = json.loads((session[1] / "memory.json").read_text())
    assert saved["version"] == 1
    assert saved["tests"]["test_memory.py::test_small"]["peak_allocated_bytes"] == 8 << 20


def test_increase_over_the_baseline_fails(session: Session, tmp_path: Path) -> None:
    saved = (session[1] / "memory.json").read_text()
    (tmp_path / "before.json").write_text(saved)
    (tmp_path / "test_memory.py").write_text(TESTS.replace("use(8)", "use(7); use(7); x = use(1); y = use(7)"))
    arguments = ("--gpu-memory", "--gpu-memory-compare", "before.json", "--fail-on-increase", "0%", "-k", "small")
    allowed = run(tmp_path, *arguments)
    assert "1 passed" in allowed.stdout, allowed.stdout
    assert "(+0.0 %)" in allowed.stdout
    (tmp_path / "before.json").write_text(saved.replace(str(8 << 20), str((8 << 20) - 512)))
    grown = run(tmp_path, *arguments)
    assert "peak allocated GPU memory 8.00 MiB on t4 (emulated) grew by more than 0 % from 8.00 MiB" in grown.stdout


def test_tests_of_memory_are_skipped_by_default(tmp_path: Path) -> None:
    (tmp_path / "test_memory.py").write_text(TESTS)
    finished = run(tmp_path, "-rs")
    assert "1 passed, 4 skipped" in finished.stdout
    assert "a test of GPU memory: run pytest --gpu-memory" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--gpu-memory-save", "x.json"), "--gpu-memory-save needs --gpu-memory"),
        (("--gpu-memory", "--fail-on-increase", "2%"), "--fail-on-increase needs --gpu-memory-compare FILE"),
        (("--gpu-memory", "--fail-on-increase", "2 MB"), "--fail-on-increase 2 MB: write a percentage, for example 2%"),
        (("--gpu-memory", "--gpu-memory-compare", "none.json"), "--gpu-memory-compare none.json: No such file"),
        (
            ("--gpu-memory", "--gpu-memory-save", "test_memory.py"),
            "--gpu-memory-save test_memory.py: is not a file that --gpu-memory-save has written",
        ),
    ],
)
def test_wrong_option_is_one_line(arguments: tuple[str, ...], line: str, tmp_path: Path) -> None:
    (tmp_path / "test_memory.py").write_text("def test_nothing(): pass\n")
    finished = run(tmp_path, *arguments)
    assert finished.returncode == 4
    assert line in finished.stderr
    assert "Traceback" not in finished.stderr
    assert (tmp_path / "test_memory.py").read_text() == "def test_nothing(): pass\n"


@pytest.mark.parametrize(
    ("marker", "line"),
    [
        ("limit_gpu_memory('8 apples')", "limit_gpu_memory: '8 apples' is not a size"),
        ("limit_gpu_memory('8 GiB', gpu='t5')", "there is no GPU 't5' in the catalog; did you mean t4?"),
        ("fits()", "fits needs names of GPUs, for example fits('t4')"),
    ],
)
def test_wrong_marker_fails_its_test(marker: str, line: str, tmp_path: Path) -> None:
    text = f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass\ndef test_other(): pass\n"
    (tmp_path / "test_memory.py").write_text(text)
    finished = run(tmp_path, "--gpu-memory")
    assert line in finished.stdout, finished.stdout
    assert "1 failed, 1 passed" in finished.stdout


def test_process_that_dies_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "test_memory.py").write_text("import os\ndef test_it(gpu_memory): os._exit(3)\n")
    finished = run(tmp_path, "--gpu-memory")
    assert "the process of this test ended with status 3" in finished.stdout
