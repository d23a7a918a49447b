"""The warning about bfloat16 on GPUs that cannot multiply in it."""

from __future__ import annotations

import re

import pytest

from memprof.cli.slow_precision import note_slow_precision
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device
from memprof.gpus.traits import default_traits, traits_of
from memprof.records import Source
from tests.samples import sample_config


def device(name: str, source: Source = Source.EMULATED) -> Device:
    traits = traits_of(find_gpu(name)) if source is Source.EMULATED else default_traits()
    return Device(source=source, name=name, index=0, total_bytes=None, traits=traits, explanation="")


@pytest.mark.parametrize(
    ("precision", "gpus", "said"),
    [
        ("amp-bf16", ["t4", "l4"], "warning: t4 cannot multiply in bfloat16, .* use --precision amp-fp16"),
        ("bf16", ["rtx-2080-ti"], "warning: rtx-2080-ti cannot multiply in bfloat16, .* use --precision fp16"),
        ("amp-bf16", ["l4"], ""),
        ("amp-fp16", ["t4"], ""),
    ],
)
def test_bf16_on_an_older_gpu_is_a_warning(
    precision: str, gpus: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note_slow_precision([sample_config(), sample_config(precision=precision)], [device(name) for name in gpus])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(f"{said}\n" if said else "", printed.err)


def test_bf16_without_a_gpu_is_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    note_slow_precision([sample_config(precision="bf16")], [device("none", Source.ANALYTIC)])
    assert capsys.readouterr().err == ""
