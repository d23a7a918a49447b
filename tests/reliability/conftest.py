"""A sandbox for commands that are killed, or whose calls fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.gpus.select import Device
from tests.reliability.kills.sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path, phantom_device_h100: Device) -> Iterator[Sandbox]:
    del phantom_device_h100  # if no phantom can be built, these tests are skipped
    made = Sandbox(tmp_path)
    yield made
    made.close()
