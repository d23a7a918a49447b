"""report as a user runs it: from saved answers to a page, and one line for each thing that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from memprof.results import Kind, Manifest, save_document
from tests.samples import sample_environment, sample_explained

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder in which results/sample holds an explanation."""
    manifest = Manifest(
        kind=Kind.EXPLAIN,
        name="sample",
        fingerprint="abc",
        config={"name": "sample", "model": {"name": "mnist_mlp"}},
        environment=sample_environment(),
        command=("memprof", "explain", "configs/sample.yaml"),
        points_planned=1,
    )
    save_document(tmp_path / "results", manifest, sample_explained())
    return tmp_path


def refused(memprof: Memprof, *arguments: str, cwd: Path, status: ExitCode = ExitCode.RESULT) -> str:
    """Run report, hold it to `status` and to a single line on stderr, and return that line."""
    ended = memprof("report", *arguments, cwd=cwd)
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == status, ended.stderr
    assert len(lines) == 1, lines
    assert lines[0].startswith("memprof: ")
    assert ended.stdout == ""
    return lines[0]


def test_the_page_is_report_html_unless_another_name_is_given(memprof: Memprof, saved: Path) -> None:
    ended = memprof("report", "sample", cwd=saved)
    assert ended.returncode == 0, ended.stderr
    page = (saved / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert ended.stdout.startswith("report.html: ")
    assert ended.stdout.endswith(" of an explanation\n")
    assert memprof("report", "sample", "-o", "other.html", cwd=saved).returncode == 0
    assert (saved / "other.html").read_text() == page
    assert {path.name for path in saved.iterdir()} == {"results", "report.html", "other.html"}


def test_markdown_goes_to_stdout_or_to_a_file(memprof: Memprof, saved: Path) -> None:
    shown = memprof("report", "sample", "--markdown", cwd=saved).stdout
    assert shown.startswith("## sample: GPU memory\n")
    assert memprof("report", "sample", "--markdown", "-o", "report.md", cwd=saved).stdout.startswith("report.md: ")
    assert (saved / "report.md").read_text() == shown
    assert not (saved / "report.html").exists()


def test_what_was_left_out_is_said_on_stderr(memprof: Memprof, saved: Path) -> None:
    (folder,) = (saved / "results" / "sample").iterdir()
    broken = folder.with_name("20991231-000000")
    broken.mkdir()
    (broken / "manifest.json").write_text((folder / "manifest.json").read_text())
    (broken / "result.json").write_text('{"schema_version": 1, "ans')
    ended = memprof("report", "sample", cwd=saved)
    assert ended.returncode == 0
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stderr.startswith("left out: results/sample/20991231-000000")
    assert "20991231-000000" in (saved / "report.html").read_text()


def test_a_name_without_results_is_refused_with_the_nearest(memprof: Memprof, saved: Path) -> None:
    assert "did you mean sample" in refused(memprof, "smaple", cwd=saved)


def test_a_folder_without_results_is_refused(memprof: Memprof, tmp_path: Path) -> None:
    assert "no result mnist_mlp" in refused(memprof, "mnist_mlp", cwd=tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: "", "not a result of memprof"),
        (lambda text: text[: len(text) // 2], "not a result of memprof"),
        (lambda text: json.dumps({**json.loads(text), "schema_version": 99}), "a newer memprof wrote this"),
        (lambda text: json.dumps({**json.loads(text), "result": {}}), "not a result of memprof: result.record"),
    ],
)
def test_a_damaged_answer_is_refused_by_name(
    memprof: Memprof, saved: Path, change: Callable[[str], str], says: str
) -> None:
    (answer,) = saved.rglob("result.json")
    answer.write_text(change(answer.read_text()))
    for place in ("sample", str(answer)):
        line = refused(memprof, place, cwd=saved)
        assert says in line
        assert answer.parent.name in line


def test_an_answer_that_is_missing_is_said_to_be(memprof: Memprof, saved: Path) -> None:
    (answer,) = saved.rglob("result.json")
    answer.unlink()
    assert "has no result.json" in refused(memprof, "sample", cwd=saved)


def test_a_place_that_cannot_be_written_is_named(memprof: Memprof, saved: Path) -> None:
    assert "cannot write no/such/report.html: No such file or directory" in refused(
        memprof, "sample", "-o", "no/such/report.html", cwd=saved
    )
    assert "cannot write results: Is a directory" in refused(memprof, "sample", "-o", "results", cwd=saved)
    if os.geteuid() != 0:
        (saved / "locked").mkdir(mode=0o500)
        assert "Permission denied" in refused(memprof, "sample", "-o", "locked/report.html", cwd=saved)


def test_what_was_there_stays_where_a_page_cannot_be_written(memprof: Memprof, saved: Path) -> None:
    """A page that is half written must not stand in the place of a whole one."""
    (saved / "report.html").write_text("old")
    assert "File too large" in _limited(memprof, saved)
    assert (saved / "report.html").read_text() == "old"
    assert {path.name for path in saved.iterdir()} == {"results", "report.html"}


def _limited(memprof: Memprof, folder: Path) -> str:
    """Run report where no file may grow beyond 4 KiB, and return what stderr says."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        ended = memprof("report", "sample", cwd=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.returncode == ExitCode.RESULT, ended.stderr
    return ended.stderr


def test_an_explained_run_and_its_search_make_one_page(
    memprof: Memprof, phantom_device_h100: Device, tmp_path: Path
) -> None:
    config, results = "configs/mnist_mlp.yaml", str(tmp_path / "results")
    device = ("--gpu", phantom_device_h100.name, "--output-dir", results)
    assert memprof("explain", config, *device).returncode == 0
    assert memprof("max-batch", config, *device, "--max", "64").returncode == 0
    assert memprof("compare", config, *device, "--vary", "optimizer=sgd,adam").returncode == 0
    page = str(tmp_path / "report.html")
    ended = memprof("report", "mnist_mlp", "-o", page, "--output-dir", results)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("of a max-batch result, an explanation, a comparison\n")
    assert ended.stderr == ""
    html = Path(page).read_text()
    assert "batch 64 trains, and larger ones may" in html
    assert "cuBLAS workspace" in html
