import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION, Environment, Reading, RunRecord, StepReading
from memprof.results import fingerprint, from_line, to_line

MakeRecord = Callable[..., RunRecord]

steps = st.lists(st.builds(StepReading, seconds=st.none() | st.floats(0, 1e6)), max_size=2).map(tuple)
records = st.builds(RunRecord, reading=st.none() | st.builds(Reading, steps=steps))


@given(records)
def test_a_record_survives_its_line_unchanged(record: RunRecord) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert from_line(line) == record


def test_a_line_carries_the_version_of_its_schema(make_record: MakeRecord) -> None:
    assert json.loads(to_line(make_record()))["schema_version"] == SCHEMA_VERSION


def test_a_line_from_a_newer_schema_is_refused_by_its_version(make_record: MakeRecord) -> None:
    newer = json.loads(to_line(make_record())) | {"schema_version": SCHEMA_VERSION + 1, "wholly": "new"}
    with pytest.raises(ResultError, match=rf"line 3: a newer memprof wrote this \(schema {SCHEMA_VERSION + 1}"):
        from_line(json.dumps(newer), "records.jsonl, line 3")


def test_a_line_with_a_wrong_value_is_refused_by_its_key(make_record: MakeRecord) -> None:
    wrong = json.loads(to_line(make_record())) | {"batch_size": "many"}
    with pytest.raises(ResultError, match="not a result of memprof: batch_size: ") as refusal:
        from_line(json.dumps(wrong))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "{}", "null"])
def test_a_line_that_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(ResultError, match="not a result of memprof"):
        from_line(line)


def test_a_fingerprint_changes_with_all_that_the_numbers_depend_on(environment: Environment) -> None:
    config = {"name": "mnist_mlp", "steps": 3}
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
