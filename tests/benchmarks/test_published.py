"""The published figures and the page that compares them; to run all rows, `make published`."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.published import __main__ as command
from benchmarks.published import runs
from benchmarks.published.environments import Environment, choose
from benchmarks.published.figures import Row, Source, read_figures
from benchmarks.published.page import compare, markdown
from benchmarks.published.runs import Found, command_of, files_of, read_rows, run_source, write_rows
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.gpus.catalog import find_gpu
from tests.paths import ROOT

SETTINGS = {"name": "a", "title": "A", "url": "https://a.org", "gpu": "NVIDIA T4", "phantom": "t4", "versions": "1"}
SOURCE = Source(
    **SETTINGS,  # type: ignore[arg-type]
    counted="a peak",
    counter="peak_allocated_bytes",
    unit="GB",
    config=Path("configs/mnist_mlp.yaml"),
    rows=(
        Row(name="near", figure=2.0, optimizer="adam", set={"model.kwargs": {"x": 1}}, reason="versions"),
        Row(name="full", figure="out of memory"),
        Row(name="long", figure=4.0, lengths=(128, 256)),
        Row(name="lost", figure=5.0, not_run="unknown lengths"),
    ),
)


def found(name: str, *sizes: int, oom: bool = False, error: str = "") -> Found:
    row = next(row for row in SOURCE.rows if row.name == name)
    command = command_of(SOURCE, row)
    return Found(
        row=f"a/{name}",
        command=command,
        files=files_of(SOURCE, row),
        versions="torch 2",
        packages="peft 1",
        day="2026-01-02",
        found_bytes=sizes,
        oom=oom,
        error=error,
    )


FOUND = {
    "a/near": found("near", 2_040_000_000),
    "a/full": found("full", oom=True),
    "a/long": found("long", 3_000_000_000, 5_000_000_000),
}


def test_page_has_errors_ranges_verdicts_and_reasons() -> None:
    page = markdown([SOURCE], FOUND)
    assert "The runs were made on 2026-01-02 with torch 2." in page
    assert "- Ours: phantom `t4`; peft 1" in page
    assert "| near | 2.00 | 2.04 | +2.0 % |" in page
    assert "| full | out of memory | out of memory | same |" in page
    assert "| long | 4.00 | 3.00 to 5.00 | in the range |" in page
    assert "| lost | 5.00 | - | not reproduced |" in page
    assert "- near: versions" in page
    assert "- lost: unknown lengths" in page
    assert "| all | 4 | 3 | 2.0 % | +2.0 % | 1 of 1 | 3 of 3 |" in page


def test_page_marks_wrong_verdicts_and_failures() -> None:
    page = markdown([SOURCE], {"a/near": found("near", oom=True), "a/full": found("full", error="no model")})
    assert "| near | 2.00 | out of memory | **wrong verdict** |" in page
    assert "- full: no model" in page
    assert "| all | 4 | 1 | - | - | - | 0 of 1 |" in page


def test_row_outside_the_range_of_lengths_is_marked() -> None:
    outside = {"a/long": found("long", 4_100_000_000, 5_000_000_000)}
    assert [one.within for one in compare([SOURCE], outside)] == [None, None, False, None]
    assert "**not in the range**" in markdown([SOURCE], outside)


def test_commands_of_a_row_have_its_settings() -> None:
    assert command_of(SOURCE, SOURCE.rows[0]) == (
        "memprof sweep configs/mnist_mlp.yaml --gpu t4 --batch-size 1 --optimizer adam --set 'model.kwargs={\"x\": 1}'"
    )
    assert command_of(SOURCE, SOURCE.rows[2]).count("sizes.seq_len=") == 2


HERE = Environment(versions="torch 2", packages="peft 1")


def pending(saved: dict[str, Found], environment: Environment = HERE, *only: str) -> list[str]:
    return [row.name for row in command.pending(SOURCE, command.selected(SOURCE, only), saved, environment)]


def test_saved_rows_of_the_same_command_do_not_run_again() -> None:
    assert pending(FOUND) == []
    assert pending({**FOUND, "a/full": found("full", error="killed")}) == ["full"]
    assert pending({**FOUND, "a/full": replace(found("full"), command="memprof sweep b.yaml")}) == ["full"]


def test_rows_run_again_after_a_change_of_versions_or_files() -> None:
    assert pending(FOUND, Environment(versions="torch 3", packages="peft 1")) == ["near", "full", "long"]
    assert pending(FOUND, Environment(versions="torch 2", packages="peft 2"), "a/lo") == ["long"]
    assert pending({**FOUND, "a/near": replace(FOUND["a/near"], files="0")}) == ["near"]


def test_hash_of_files_follows_the_config_and_its_model(tmp_path: Path) -> None:
    config, model = tmp_path / "a.yaml", tmp_path / "model.py"
    row = Row(name="own", figure=1.0, config=config)
    config.write_text("model: {name: model.py:build}", encoding="utf-8")
    seen = set()
    for text in ("one", "two", "one"):
        model.write_text(text, encoding="utf-8")
        seen.add(files_of(SOURCE, row))
    config.write_text("model: {name: mlp}", encoding="utf-8")
    seen.add(files_of(SOURCE, row))
    assert len(seen) == 3


def test_source_takes_the_first_interpreter_with_its_packages(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text(
        f'#!/bin/sh\ncase "$2" in *metadata*) echo \'{{"own": "7"}}\';; *) exec {sys.executable} "$@";; esac'
    )
    other.chmod(0o755)
    pythons = [sys.executable, str(other)]
    assert choose(["torch"], pythons).python == sys.executable
    found = choose(["own"], pythons)
    assert (found.python, found.packages, found.missing) == (str(other), "own 7", ())
    assert choose(["nobody"], pythons).missing == ("nobody",)


def test_row_that_fails_is_reported_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "ROWS", tmp_path / "rows.jsonl")
    source = SOURCE.model_copy(
        update={
            "rows": (
                Row(name="lost", figure=1.0, set={"model.name": "nothing"}),
                Row(name="runs", figure=1.0, optimizer="adam", batch_size=64),
            )
        }
    )
    options = Namespace(only=[], again=False, python=[])
    saved: dict[str, Found] = {}
    errors = command.run([source], saved, options)
    assert [error.partition(":")[0] for error in errors] == ["a/lost failed"]
    assert saved["a/runs"].found_bytes > (0,)
    assert read_rows() == saved
    command.run([source], saved, options)
    assert capsys.readouterr().out.count("a/runs: published 1.0") == 1


def test_rows_are_read_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROWS", tmp_path / "rows.jsonl")
    assert read_rows() == {}
    write_rows(FOUND)
    assert read_rows() == FOUND


def test_row_without_config_or_reason_is_refused() -> None:
    with pytest.raises(ValidationError, match="neither a config nor a reason"):
        Source(
            **SETTINGS,  # type: ignore[arg-type]
            counted="a peak",
            counter="peak_allocated_bytes",
            unit="GB",
            rows=(Row(name="near", figure=2.0),),
        )


def test_published_figures_name_gpus_configs_and_units() -> None:
    sources = read_figures()
    assert {source.name for source in sources} >= {"torchtune", "torchtitan", "fms-acceleration", "peft", "litgpt"}
    for source in sources:
        assert find_gpu(source.phantom)
        for row in source.rows:
            assert (row.config or source.config or source.kind == "xmem") or row.not_run
    assert sum(len(source.rows) for source in sources) >= 80


@pytest.mark.parametrize(
    "source", [source for source in read_figures() if source.kind == "sweep"], ids=lambda s: s.name
)
def test_each_row_of_a_source_loads_its_config(source: Source) -> None:
    for package in ("transformers", "peft", "bitsandbytes"):
        pytest.importorskip(package)
    for row in source.rows:
        if row.not_run:
            continue
        for command_line in source.commands(row):
            settings = [
                Override(flag=Flag.SET, text=command_line[place + 1])
                for place, word in enumerate(command_line)
                if word == "--set"
            ]
            assert load(ROOT / command_line[2], settings).config.points()


def test_model_alone_on_phantom_equals_published_figure() -> None:
    [source] = [source for source in read_figures() if source.name == "resnet18"]
    [result] = run_source(source, source.rows, HERE)
    assert (result.found_bytes, result.error) == ((46_861_312,), "")
