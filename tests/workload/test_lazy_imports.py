"""The command line knows names without importing torch."""

import subprocess
import sys

import pytest

import memprof.workload


def test_names_import_without_torch() -> None:
    code = "import sys, memprof.config.names; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_workload_exports_every_name() -> None:
    assert all(hasattr(memprof.workload, name) for name in memprof.workload.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'build_modle'"):
        memprof.workload.build_modle  # noqa: B018
