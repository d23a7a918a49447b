"""A config file in an empty folder, and the message for one that cannot be loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.overrides import Override
from memprof.errors import ConfigError, ExitCode

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write text to `x.yaml` in an empty folder that is the current one, and return its relative path."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        Path("x.yaml").write_text(text, encoding="utf-8")
        return Path("x.yaml")

    return to_file


def refusal(path: Path, *overrides: Override) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert caught.value.exit_code is ExitCode.CONFIG
    return str(caught.value)


def skip_without_packages(config: Path) -> None:
    """Skip a test of a shipped config that names a package of the extra `hub` which is not installed."""
    text = config.read_text()
    needed = {"peft": "\nadapter:" in text, "bitsandbytes": "\nquantization:" in text or "bitsandbytes:" in text}
    missing = [name for name, is_needed in needed.items() if is_needed and importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; pip install -e '.[hub]'")
