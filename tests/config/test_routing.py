"""The key `routing` of a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.routing import Routing
from memprof.errors import ConfigError


def routing_of(tmp_path: Path, text: str) -> Routing | None:
    (tmp_path / "x.yaml").write_text(f"model: mnist_mlp\n{text}\n")
    return load(tmp_path / "x.yaml").config.routing


@pytest.mark.parametrize(
    ("text", "times", "label"),
    [
        ("routing: balanced", 1, "balanced"),
        ("routing: {worst: 2}", 2, "worst: 2×"),
        ("routing: {worst: 1.5}", 1.5, "worst: 1.5×"),
    ],
)
def test_routing_has_a_share_and_a_label(tmp_path: Path, text: str, times: float, label: str) -> None:
    routing = routing_of(tmp_path, text)
    assert routing is not None
    assert (routing.worst, routing.label) == (times, label)


def test_router_chooses_by_default(tmp_path: Path) -> None:
    assert routing_of(tmp_path, "steps: 3") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("routing: fair", "x.yaml:2: routing: write balanced, or for example {worst: 2}"),
        ("routing: {worst: 0.5}", "x.yaml:2: routing.worst: 0.5 is too small; the minimum is 1"),
        ("routing: {wurst: 2}", "x.yaml:2: routing.wurst: unknown key; did you mean worst?"),
        (
            "routing: balanced\ncompile: true",
            "x.yaml:2: routing: compile is not supported with routing; set compile: false",
        ),
    ],
)
def test_wrong_routing_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        routing_of(tmp_path, text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
