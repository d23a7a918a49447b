"""One Ray cluster for all tests of a module."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import call, memprof  # noqa: F401  fixtures
from tests.engines.local_cluster import LocalCluster


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[LocalCluster]:
    """A cluster without nodes. Another process of pytest-xdist waits, so that two never share the machine's memory."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("not installed: ray; pip install -e '.[ray]'")
    with Path(tempfile.gettempdir(), f"memprof-ray-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A short path: Ray puts sockets there.
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        cluster = LocalCluster({"RAY_TMPDIR": folder})
        try:
            yield cluster
        finally:
            cluster.close()
            shutil.rmtree(folder, ignore_errors=True)
