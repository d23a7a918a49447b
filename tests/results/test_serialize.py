import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION, Reading, RunRecord, StepReading
from memprof.results import fingerprint, from_line, to_line
from tests.samples import sample_environment, sample_record

steps = st.lists(st.builds(StepReading, seconds=st.none() | st.floats(0, 1e6)), max_size=2).map(tuple)
records = st.builds(RunRecord, batch_size=st.integers(1, 2**40), reading=st.none() | st.builds(Reading, steps=steps))


@given(records)
def test_line_round_trip_is_equal(record: RunRecord) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert from_line(line) == record


def test_to_line_has_schema_version() -> None:
    assert json.loads(to_line(sample_record()))["schema_version"] == SCHEMA_VERSION


def test_from_line_newer_schema_is_refused() -> None:
    newer = json.loads(to_line(sample_record())) | {"schema_version": SCHEMA_VERSION + 1, "wholly": "new"}
    with pytest.raises(ResultError, match=rf"line 3: a newer memprof wrote this \(schema {SCHEMA_VERSION + 1}"):
        from_line(json.dumps(newer), "records.jsonl, line 3")


def test_from_line_wrong_value_is_refused_by_key() -> None:
    wrong = json.loads(to_line(sample_record())) | {"batch_size": "many"}
    with pytest.raises(ResultError, match="not a result of memprof: batch_size: ") as refusal:
        from_line(json.dumps(wrong))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "{}", "null"])
def test_from_line_without_record_is_refused(line: str) -> None:
    with pytest.raises(ResultError, match="not a result of memprof"):
        from_line(line)


@pytest.mark.parametrize("version", [-1, 0, True, "2", 2.0, None])
def test_from_line_impossible_schema_version_is_refused(version: object) -> None:
    wrong = json.loads(to_line(sample_record())) | {"schema_version": version}
    with pytest.raises(ResultError, match=r"^line 1: not a result of memprof$"):
        from_line(json.dumps(wrong), "line 1")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"batch_size": 0}, ": batch_size 0 is below 1"),
        ({"batch_size": -8}, ": batch_size -8 is below 1"),
        ({"batch_size": 10**30}, ""),
        ({"largest_batch_size": -(10**30)}, ""),
        ({"model": [[]]}, ": model: Input should be a valid string"),
    ],
)
def test_from_line_impossible_value_is_refused(change: dict[str, object], problem: str) -> None:
    wrong = json.loads(to_line(sample_record())) | change
    with pytest.raises(ResultError) as refusal:
        from_line(json.dumps(wrong), "line 1")
    assert str(refusal.value) == f"line 1: not a result of memprof{problem}"


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"a":' * 100_000, '{"schema_version": 2, "batch_size": ' + "9" * 5_000 + "}", '"\\ud800"'],
    ids=["lists", "mappings", "digits", "surrogate"],
)
def test_from_line_hostile_text_is_refused(line: str) -> None:
    with pytest.raises(ResultError, match=r"not a result of memprof$"):
        from_line(line)


def test_fingerprint_changes_with_every_input() -> None:
    config, environment = {"name": "mnist_mlp", "steps": 3}, sample_environment()
    same = fingerprint({"steps": 3, "name": "mnist_mlp"}, replace(environment, git_commit="abc"))
    others = {
        fingerprint(config | {"steps": 4}, environment),
        fingerprint(config, replace(environment, gpu="Tesla T4")),
        fingerprint(config, replace(environment, torch_version="2.15.0")),
        fingerprint(config, replace(environment, cudnn_version="9.28.0")),
        fingerprint(config, environment, "def build(): ..."),
    }
    assert fingerprint(config, environment) == same
    assert len(others | {same}) == 6
