"""The command line reads names without paying for torch."""

import subprocess
import sys

import pytest

import profiler.workload


def test_names_are_imported_without_torch() -> None:
    code = "import sys, profiler.workload.names; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_the_package_promises_is_there() -> None:
    assert all(hasattr(profiler.workload, name) for name in profiler.workload.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'build_modle'"):
        profiler.workload.build_modle  # noqa: B018
