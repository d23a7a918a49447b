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
from tests.cli.conftest import one_line
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


def refused(call: Memprof, *arguments: str, cwd: Path) -> str:
    """Check a refused call of report, and return the line on stderr."""
    ended = call("report", *arguments, cwd=cwd)
    assert ended.stdout == ""
    return one_line(ended, ExitCode.RESULT)


def test_report_writes_report_html_by_default(call: Memprof, saved: Path) -> None:
    ended = call("report", "sample", cwd=saved)
    assert ended.returncode == 0, ended.stderr
    page = (saved / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert ended.stdout == "Wrote report.html (explain)\n"
    assert call("report", "sample", "-o", "other.html", cwd=saved).returncode == 0
    assert (saved / "other.html").read_text() == page
    assert {path.name for path in saved.iterdir()} == {"results", "report.html", "other.html"}


def test_report_markdown_goes_to_stdout_or_to_a_file(call: Memprof, saved: Path) -> None:
    shown = call("report", "sample", "--markdown", cwd=saved).stdout
    assert shown.startswith("## sample: GPU memory\n")
    assert call("report", "sample", "--markdown", "-o", "report.md", cwd=saved).stdout == "Wrote report.md (explain)\n"
    assert (saved / "report.md").read_text() == shown
    assert not (saved / "report.html").exists()


def test_report_names_skipped_results_on_stderr(call: Memprof, saved: Path) -> None:
    (folder,) = (saved / "results" / "sample").iterdir()
    broken = folder.with_name(f"{folder.name}-2")
    broken.mkdir()
    (broken / "manifest.json").write_text((folder / "manifest.json").read_text())
    (broken / "result.json").write_text('{"schema_version": 1, "ans')
    ended = call("report", "sample", cwd=saved)
    assert ended.returncode == 0
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stderr.startswith(f"Skipped results/sample/{broken.name} (")
    assert broken.name in (saved / "report.html").read_text()


def test_report_of_a_missing_name_names_the_nearest(call: Memprof, saved: Path) -> None:
    assert "did you mean sample" in refused(call, "smaple", cwd=saved)


def test_report_without_results_is_refused(call: Memprof, tmp_path: Path) -> None:
    assert "no result mnist_mlp" in refused(call, "mnist_mlp", cwd=tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: "", "not a result of memprof"),
        (lambda text: text[: len(text) // 2], "not a result of memprof"),
        (lambda text: json.dumps({**json.loads(text), "schema_version": 99}), "a newer memprof wrote this"),
        (lambda text: json.dumps({**json.loads(text), "result": {}}), "not a result of memprof: result.record"),
    ],
)
def test_report_of_a_damaged_result_is_refused(
    call: Memprof, saved: Path, change: Callable[[str], str], says: str
) -> None:
    (answer,) = saved.rglob("result.json")
    answer.write_text(change(answer.read_text()))
    for place in ("sample", str(answer)):
        line = refused(call, place, cwd=saved)
        assert says in line
        assert answer.parent.name in line


def test_report_without_answer_json_is_refused(call: Memprof, saved: Path) -> None:
    (answer,) = saved.rglob("result.json")
    answer.unlink()
    assert "has no result.json" in refused(call, "sample", cwd=saved)


def test_report_to_an_unwritable_place_names_it(call: Memprof, saved: Path) -> None:
    assert "cannot write no/such/report.html: No such file or directory" in refused(
        call, "sample", "-o", "no/such/report.html", cwd=saved
    )
    assert "cannot write results: Is a directory" in refused(call, "sample", "-o", "results", cwd=saved)
    if os.geteuid() != 0:
        (saved / "locked").mkdir(mode=0o500)
        assert "Permission denied" in refused(call, "sample", "-o", "locked/report.html", cwd=saved)


def test_report_that_cannot_be_written_keeps_the_old_page(memprof: Memprof, saved: Path) -> None:
    """Half a page must not replace a whole one."""
    (saved / "report.html").write_text("old")
    assert "File too large" in _limited(memprof, saved)
    assert (saved / "report.html").read_text() == "old"
    assert {path.name for path in saved.iterdir()} == {"results", "report.html"}


def _limited(memprof: Memprof, folder: Path) -> str:
    """Run report where no file may grow beyond 4 KiB, and return what stderr has."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        ended = memprof("report", "sample", cwd=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.returncode == ExitCode.RESULT, ended.stderr
    return ended.stderr


def test_report_of_three_results_is_one_page(memprof: Memprof, phantom_device_h100: Device, tmp_path: Path) -> None:
    config, results = "configs/mnist_mlp.yaml", str(tmp_path / "results")
    device = ("--gpu", phantom_device_h100.name, "--output-dir", results)
    assert memprof("explain", config, *device).returncode == 0
    assert memprof("max-batch", config, *device, "--max", "64").returncode == 0
    assert memprof("compare", config, *device, "--vary", "optimizer=sgd,adam").returncode == 0
    page = str(tmp_path / "report.html")
    ended = memprof("report", "mnist_mlp", "-o", page, "--output-dir", results)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("report.html (max-batch, explain, compare)\n")
    assert ended.stderr == ""
    html = Path(page).read_text()
    assert "batch 64 trains, and larger ones may" in html
    assert "cuBLAS workspace" in html
