"""What saves most: three changes at most, with bytes of runs, and fragmentation in a sentence."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Group

from memprof.breakdown.explanation import Advice, Explained
from memprof.records import Status
from memprof.report.terminal.advice import advice_lines
from memprof.report.terminal.explain import explain_report
from memprof.report.terminal.render import to_text
from memprof.units import GIB, MIB
from tests.samples import sample_explained


def advice(name: str, saved_bytes: int, **settings: str) -> Advice:
    return Advice(
        name=name,
        settings=settings,
        cost="none: it is free",
        peak_allocated_bytes=2 * GIB,
        peak_reserved_bytes=3 * GIB,
        saved_allocated_bytes=saved_bytes,
        saved_reserved_bytes=saved_bytes,
    )


SEGMENTS = {"allocator": "expandable_segments:True"}


def shown(explained: Explained) -> str:
    return to_text(Group(*advice_lines(explained, 80)), 80)


def with_unused(unused_bytes: int, *found: Advice) -> Explained:
    explained = sample_explained()
    assert explained.explanation is not None
    reserved = explained.explanation.peak_allocated_bytes + unused_bytes
    changed = replace(explained.explanation, peak_reserved_bytes=reserved)
    return replace(explained, explanation=changed, advice=found)


def test_advice_shows_the_three_largest_savings_with_settings() -> None:
    found = [advice(f"change {place}", (5 - place) * GIB, key=str(place)) for place in range(4)]
    text = shown(with_unused(0, *found, advice("worse", -GIB)))
    rows = [line.split() for line in text.splitlines() if line.startswith("change ")]
    assert rows[1:] == [["change", str(n), "2.00", "GiB", "3.00", "GiB", f"{5 - n}.00", "GiB"] for n in range(3)]
    assert "--set key=0; cost in speed: none: it is free" in text
    assert "worse" not in text
    assert "emulated" in text


def test_advice_gives_fragmentation_in_bytes() -> None:
    line = "1.86 GiB reserved and unused"
    saves = advice("expandable segments", 1600 * MIB, **SEGMENTS)
    assert shown(with_unused(1900 * MIB, saves)).splitlines()[-1] == (
        f"{line}; expandable_segments:True saves 1.56 GiB"
    )
    nothing = advice("expandable segments", -MIB, **SEGMENTS)
    assert shown(with_unused(1900 * MIB, nothing)) == f"{line}; expandable_segments:True saves nothing of it"
    assert shown(with_unused(1900 * MIB)) == line
    assert shown(with_unused(MIB // 2)) == ""


def test_advice_is_below_the_peak_in_the_report() -> None:
    explained = with_unused(0, advice("amp-bf16", GIB, precision="amp-bf16"))
    lines = to_text(explain_report(explained, None, 5, 80), 80).splitlines()
    peak = next(place for place, line in enumerate(lines) if line.startswith("peak "))
    assert lines[peak + 2] == "What saves most"
    assert max(map(len, lines)) <= 80


def test_peak_of_a_run_out_of_memory_is_a_lower_bound() -> None:
    explained = sample_explained()
    record = replace(explained.record, status=Status.OOM, error="backward: CUDA out of memory.")
    lines = to_text(explain_report(replace(explained, record=record), None, 5, 80), 80).splitlines()
    assert any(line.startswith("peak > ") for line in lines)
