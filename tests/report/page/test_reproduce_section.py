"""How to reproduce the figures: commands that work, versions, sources, and what was skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memprof.report.page import collect
from memprof.report.page.collect import Skipped
from memprof.report.page.elements import Code, Listing
from memprof.report.page.reproduce_section import commands, reproduce_section


def test_install_commands_need_no_package_of_memprof(saved: Path) -> None:
    lines = commands(collect("sample", saved)).text.splitlines()
    assert lines[:2] == [
        "pip install torch==2.14.1",
        "pip install .  # memprof 0.1.0, in a clone of its repository",
    ]
    assert "memprof-gpu" not in "\n".join(lines)


def test_commands_are_those_that_ran_with_allocator_settings(saved: Path) -> None:
    inputs = collect("sample", saved)
    settings = "expandable_segments:True,max_split_size_mb:64"
    changed = replace(inputs, environment=replace(inputs.environment, allocator_settings=settings))
    assert commands(inputs).text.splitlines()[2] == "memprof max-batch configs/sample.yaml"
    assert commands(changed).text.splitlines()[2].startswith(f"PYTORCH_CUDA_ALLOC_CONF={settings} memprof max-batch")


def test_torchvision_is_installed_at_its_version(saved: Path) -> None:
    inputs = collect("sample", saved)
    changed = replace(inputs, environment=replace(inputs.environment, torchvision_version="0.29.1+cpu"))
    assert commands(changed).text.splitlines()[0] == "pip install torch==2.14.1 torchvision==0.29.1"


@pytest.mark.parametrize(
    ("version", "index"),
    [
        ("2.14.1+cu130", " --index-url https://download.pytorch.org/whl/cu130"),
        ("2.14.1+cpu", " --index-url https://download.pytorch.org/whl/cpu"),
        ("2.14.1a0+gitabc", ""),
        ("2.14.1", ""),
    ],
)
def test_install_command_names_the_index_of_the_build(saved: Path, version: str, index: str) -> None:
    inputs = collect("sample", saved)
    changed = replace(inputs, environment=replace(inputs.environment, torch_version=version))
    assert commands(changed).text.splitlines()[0] == f"pip install torch=={version.partition('+')[0]}{index}"


def test_section_names_sources_skipped_and_older_results(saved: Path) -> None:
    skipped = Skipped(path=Path("results/sample/1"), what="a sweep", reason="GPU is t4, not h100-80gb")
    section = reproduce_section(replace(collect("sample", saved), skipped=(skipped,), older=1_234))
    assert section.lead == ("1,234 older results of the same kinds are not shown.",)
    listings = {part.caption: part.items for part in section.parts if isinstance(part, Listing)}
    assert len(listings["Sources"]) == 4
    assert listings["Skipped results"] == ("results/sample/1 (a sweep): GPU is t4, not h100-80gb",)
    assert [part.caption for part in section.parts if isinstance(part, Code)] == ["Commands", "Complete config"]
