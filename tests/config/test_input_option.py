"""`--input` and `--target` as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from memprof.config.input_option import parse_inputs, write_tensor
from memprof.config.tensors import TensorConfig
from memprof.errors import ConfigError


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["3x224x224"], {"shape": [3, 224, 224]}),
        (["128:int64:0-30000"], {"shape": [128], "dtype": "int64", "range": [0, 30000]}),
        (["scalar:bool"], {"shape": [], "dtype": "bool"}),
        (["4:int32:-5-5"], {"shape": [4], "dtype": "int32", "range": [-5, 5]}),
        (["3x8x8", "16"], [{"shape": [3, 8, 8]}, {"shape": [16]}]),
        (["ids=16:int64", "mask=16"], {"ids": {"shape": [16], "dtype": "int64"}, "mask": {"shape": [16]}}),
    ],
)
def test_input_option_parses(texts: list[str], expected: Any) -> None:
    assert parse_inputs(texts) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["3,224,224"], "--input 3,224,224: write SHAPE:DTYPE:LOW-HIGH, for example 3x224x224, 128:int64:0-30000"),
        ([""], "--input : write SHAPE"),
        (["3x"], "--input 3x: write SHAPE"),
        (["3\n4"], "--input 3 4: write SHAPE"),
        (["ids=3", "4\n5"], "--input 4 5: give all inputs a name, as in ids=4 5, or none"),
        (["3:int46"], "--input 3:int46: unknown dtype 'int46'; did you mean int64?"),
        (["3:int64:9"], "--input 3:int64:9: write the range as LOW-HIGH, for example 0-30000; HIGH is excluded"),
        (["ids=3", "4"], "--input 4: give all inputs a name, as in ids=4, or none"),
        (["ids=3", "ids=4"], "--input ids=...: the name ids is given twice"),
        (["9" * 400], "write SHAPE"),
    ],
)
def test_input_option_refuses_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_inputs(texts)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_input_option_writes_what_it_parses() -> None:
    for text in ("3x224x224", "128:int64", "scalar:uint8"):
        assert write_tensor(TensorConfig.model_validate(parse_inputs([text]))) == text
