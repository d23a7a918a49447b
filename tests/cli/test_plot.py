"""`memprof plot`: pictures of saved results where a user asked for them, and one line where there is none to draw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.records import SCHEMA_VERSION, Status
from memprof.results import Kind, Manifest, load, save_document
from tests.cli.conftest import Memprof, one_line
from tests.paths import ROOT
from tests.report.plots.explained import sample_explained
from tests.samples import sample_environment

SWEEP = load(ROOT / "results" / "resnet50", kinds=(Kind.SWEEP,)).path


def refused(call: Memprof, *arguments: str, status: ExitCode = ExitCode.RESULT) -> str:
    """Check a refused call of plot, and return the line on stderr."""
    return one_line(call("plot", *arguments), status)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a saved sweep under ``results/resnet50`` of a folder of its own."""
    return Path(shutil.copytree(SWEEP, tmp_path / "results" / "resnet50" / SWEEP.name))


@pytest.fixture
def explanation(tmp_path: Path) -> Path:
    return save_explained(tmp_path / "results", Status.OK)


def save_explained(root: Path, status: Status) -> Path:
    manifest = Manifest(
        kind=Kind.EXPLAIN,
        name="plain_cnn",
        fingerprint="abc",
        config={},
        environment=sample_environment(),
        command=("memprof", "explain"),
        points_planned=1,
    )
    return save_document(root, manifest, sample_explained(status))


def test_plot_writes_next_to_the_result_and_prints_the_path(memprof: Memprof, run: Path) -> None:
    ended = memprof("plot", str(run))
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [str(run / "resnet50-batch.png")]
    assert (run / "resnet50-batch.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in run.iterdir() if path.name.endswith(".new")]


def test_plot_finds_a_name_under_the_results_folder(call: Memprof, run: Path, tmp_path: Path) -> None:
    ended = call("plot", "resnet50", "--theme", "dark", "--format", "both", cwd=tmp_path)
    names = [f"results/resnet50/{run.name}/resnet50-batch-dark.{suffix}" for suffix in ("png", "svg")]
    assert ended.stdout.splitlines() == names, ended.stderr
    assert all((tmp_path / name).is_file() for name in names)


@pytest.mark.parametrize(
    ("output", "file"), [("new/", "new/resnet50-batch.png"), ("a.SVG", "a.SVG"), ("deep/er/b.png", "deep/er/b.png")]
)
def test_plot_output_is_a_file_or_a_folder(call: Memprof, tmp_path: Path, output: str, file: str) -> None:
    ended = call("plot", str(SWEEP), "-o", f"{tmp_path}/{output}")
    assert ended.stdout.splitlines() == [str(tmp_path / file)], ended.stderr
    start = (tmp_path / file).read_bytes()[:200]
    assert (b"<svg" in start or b"<?xml" in start) if file.endswith("SVG") else start.startswith(b"\x89PNG")


def test_plot_bytes_do_not_depend_on_the_backend(memprof: Memprof, tmp_path: Path) -> None:
    for name, environment in {"a": {}, "b": {"MPLBACKEND": "foo", "DISPLAY": ":99"}}.items():
        for suffix in ("png", "svg"):
            ended = memprof("plot", str(SWEEP), "-o", f"{tmp_path}/{name}.{suffix}", **environment)
            assert ended.returncode == ExitCode.OK, ended.stderr
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_plot_without_home_says_nothing_about_caches(memprof: Memprof, tmp_path: Path) -> None:
    ended = memprof("plot", str(SWEEP), "-o", f"{tmp_path}/a.png", HOME="/proc", MPLCONFIGDIR="/proc/no")
    assert (ended.returncode, ended.stderr) == (ExitCode.OK, "")


def test_plot_of_an_explanation_is_a_timeline(call: Memprof, explanation: Path) -> None:
    ended = call("plot", str(explanation), "--format", "svg")
    assert ended.stdout.splitlines() == [str(explanation / "plain_cnn-timeline.svg")], ended.stderr
    assert call("plot", str(explanation), "--kind", "categories").returncode == ExitCode.OK


def test_plot_takes_the_newest_result_with_the_kind(call: Memprof, run: Path, tmp_path: Path) -> None:
    explained = save_explained(tmp_path / "other", Status.OK)
    shutil.move(explained, run.parent / explained.name)
    ended = call("plot", "resnet50", "--kind", "batch", cwd=tmp_path)
    assert ended.stdout.splitlines() == [f"results/resnet50/{run.name}/resnet50-batch.png"], ended.stderr


def test_plot_in_the_terminal_writes_nothing(memprof: Memprof, run: Path) -> None:
    before = sorted(run.iterdir())
    ended = memprof("plot", str(run), "--terminal")
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert "\x1b" not in ended.stdout  # no terminal
    assert max(len(line) for line in ended.stdout.splitlines()) <= 80
    assert "5.55" in ended.stdout
    assert sorted(run.iterdir()) == before


def test_plot_json_has_the_figures(call: Memprof, run: Path) -> None:
    printed = json.loads(call("plot", str(run), "--json").stdout)
    rows = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert printed["kind"] == "batch"
    peaks = [peak for curve in printed["plot"]["curves"] for peak in curve["peaks_bytes"]]
    assert peaks == [row["reading"]["peak_allocated_bytes"] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--kind", "batches"), "--kind batches: no such kind; did you mean batch?"),
        (("--theme", "drak"), "--theme drak: no such theme; did you mean dark?"),
        (("--format", "pdf"), "--format pdf: no such format"),
        (("-o", "a.pdf"), "--output a.pdf: plots are .png or .svg files"),
        (("-o", "a.png", "--format", "svg"), "--output a.png: --format svg is different"),
        (("--terminal", "-o", "a.png"), "--terminal prints the plot and writes no file"),
        (("--json", "--format", "png"), "--json prints the plot and writes no file"),
    ],
)
def test_plot_with_a_wrong_option_names_it(call: Memprof, arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(call, str(SWEEP), *arguments, status=ExitCode.CONFIG)


def test_plot_of_a_result_without_the_kind_is_refused(call: Memprof, run: Path) -> None:
    assert "an explanation is needed here" in refused(call, str(run), "--kind", "timeline")


def test_plot_of_a_max_batch_result_is_refused(call: Memprof, run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "kind": "max-batch"}))
    assert "holds a max-batch result; a sweep or a comparison or an explanation" in refused(call, str(run))


def test_plot_of_a_missing_result_names_the_nearest(call: Memprof) -> None:
    assert "no result resnet05 here or in results; did you mean resnet50?" in refused(call, "resnet05")


def test_plot_of_a_damaged_row_names_its_line(call: Memprof, run: Path) -> None:
    rows = (run / "records.jsonl").read_text().splitlines()
    (run / "records.jsonl").write_text("\n".join([rows[0], rows[1][:100], *rows[2:]]) + "\n")
    assert f"{run}/records.jsonl, line 2: not a result of memprof" in refused(call, str(run))


def test_plot_of_a_cut_last_row_has_the_others(call: Memprof, run: Path) -> None:
    text = (run / "records.jsonl").read_text()
    (run / "records.jsonl").write_text(text[:-200])
    printed = json.loads(call("plot", str(run), "--json").stdout)
    assert [len(curve["batch_sizes"]) for curve in printed["plot"]["curves"]] == [4, 3]


def test_plot_of_a_newer_schema_is_refused(call: Memprof, run: Path) -> None:
    text = (run / "manifest.json").read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
    (run / "manifest.json").write_text(text)
    assert "a newer memprof wrote this (schema 99" in refused(call, str(run))


def test_plot_of_an_empty_result_is_refused(call: Memprof, run: Path) -> None:
    (run / "records.jsonl").write_text("")
    assert f"{run}: nothing to plot: it has no rows" in refused(call, str(run))


def test_plot_of_failed_rows_has_the_first_reason(call: Memprof, run: Path) -> None:
    rows = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    failed = [json.dumps({**row, "status": "error", "reading": None, "error": "no kernel"}) for row in rows]
    (run / "records.jsonl").write_text("\n".join(failed) + "\n")
    assert "nothing to plot: all 8 rows failed; the first: no kernel" in refused(call, str(run))


@pytest.mark.parametrize(
    ("damage", "says"), [("", "not a result of memprof"), ("{}", "not a result of memprof"), (None, "is not complete")]
)
def test_plot_of_a_damaged_explanation_is_refused(
    call: Memprof, explanation: Path, damage: str | None, says: str
) -> None:
    if damage is None:
        (explanation / "result.json").unlink()
    else:
        (explanation / "result.json").write_text(damage)
    line = refused(call, str(explanation))
    assert says in line
    assert str(explanation) in line


def test_plot_of_a_failed_explanation_says_so(call: Memprof, tmp_path: Path) -> None:
    path = save_explained(tmp_path / "results", Status.KILLED)
    line = refused(call, str(path))
    assert f"{path}: nothing to plot: nothing ran; the worker was killed by signal 9" in line


def test_plot_to_an_unwritable_place_names_it(call: Memprof, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(call, str(SWEEP), "-o", f"{tmp_path}/file/a.png")
    assert f"cannot write {tmp_path}/file" in line
    assert "choose another place with --output" in line


def test_plot_ignores_a_broken_matplotlibrc(memprof: Memprof, tmp_path: Path) -> None:
    """It lies in the folder at hand, where matplotlib would look for it."""
    (tmp_path / "matplotlibrc").write_text("font.size: huge\nbackend: foo\n")
    ended = memprof("plot", str(SWEEP), "-o", "a.png", cwd=tmp_path)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert (tmp_path / "a.png").is_file()
