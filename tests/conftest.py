"""What the tests share: a phantom GPU where one can be built, and the reason where not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable

import pytest

from memprof.errors import DeviceError
from memprof.gpus import select as devices
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.phantom.torch_install import find_torch
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import Device
from memprof.worker.fork_client import running_fork_servers, stop_fork_server

# What the user has calibrated is no part of the tests: the catalog is the shipped one alone.
os.environ["MEMPROF_CONFIG_DIR"] = os.path.join(os.path.dirname(__file__), "no-such-folder")

# A test run in the background of a shell, or under nohup, ignores signals, and so would the commands that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Worker servers are forked from one process that has imported torch, instead of each importing it: the same figures
# (tests/worker/test_fork_server.py) in less time. The processes of pytest-xdist share the folder of its socket.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ |= {"XDG_RUNTIME_DIR": tempfile.mkdtemp(prefix="memprof-tests-"), "MEMPROF_FORK_SERVER": "start"}

Script = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the fork servers with the last process of the run."""
    if not hasattr(session.config, "workerinput"):
        for path in running_fork_servers():
            stop_fork_server(path)
        shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` need a real GPU; elsewhere they are skipped and counted."""
    if list_real_gpus():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a real GPU"))


def torch_is_at_least(major: int, minor: int) -> bool:
    """Whether the installed PyTorch is of that version or newer."""
    install = find_torch()
    assert install is not None
    return tuple(map(int, install.torch_version.split(".")[:2])) >= (major, minor)


@pytest.fixture(scope="session")
def phantom_device_h100() -> Device:
    """The phantom H100 80 GB; tests that need it are skipped, with the reason, where none can be built."""
    try:
        return devices.phantom_device(find_gpu("h100-80gb"))
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def phantom_device(phantom_device_h100: Device) -> Device:
    """The phantom that tests run on unless they name another."""
    return phantom_device_h100


@pytest.fixture(scope="session")
def run_on_phantom(
    phantom_device_h100: Device,  # noqa: ARG001  skips where no phantom can be had
    tmp_path_factory: pytest.TempPathFactory,
) -> Script:
    """Run Python source in a fresh interpreter on a phantom: ``run(source, gpu="h100-80gb", **environment)``."""

    def run(source: str, gpu: str = "h100-80gb", **environment: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path_factory.mktemp("phantom") / "script.py"
        script.write_text(source)
        packages = {"PYTHONPATH": os.pathsep.join(sys.path)}  # whichever way this process finds memprof
        added = {**packages, **phantom_environment(build_phantom(), find_gpu(gpu))}
        return subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, **added, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
