"""One test of GPU memory in a process of its own: how it is started, and what it measures there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memprof.errors import MemprofError
from memprof.gpus.python_path import child_python_path
from memprof.gpus.select import choose_device
from memprof.integrations.pytest_task import PROPERTY, Task
from memprof.records import Source
from memprof.units import format_bytes

if TYPE_CHECKING:
    from types import ModuleType

_PLUGIN = "memprof.integrations.pytest_plugin"
_VARIABLE = "MEMPROF_PYTEST_CHILD"
_LONGEST_OUTPUT = 4000  # characters of a process that died


class GpuMemory:
    """The GPU memory of the process that runs this test. Every figure is that of the first CUDA device."""

    @property
    def peak_allocated_bytes(self) -> int:
        """The highest `torch.cuda.max_memory_allocated` since the start or the last `reset`."""
        cuda = _cuda()
        return int(cuda.max_memory_allocated()) if cuda else 0

    @property
    def peak_reserved_bytes(self) -> int:
        """The highest `torch.cuda.max_memory_reserved` since the start or the last `reset`."""
        cuda = _cuda()
        return int(cuda.max_memory_reserved()) if cuda else 0

    def reset(self) -> None:
        """Forget the peaks up to now."""
        if cuda := _cuda():
            cuda.reset_peak_memory_stats()


def run_in_child(item: pytest.Item, task: Task) -> list[pytest.TestReport]:
    """Run a test in a process with the GPU of `task`, and return its reports."""
    try:
        device = choose_device(task.gpu)
    except MemprofError as error:
        return [failure(item, str(error))]
    if device.source is Source.ANALYTIC:
        return [failure(item, f"a test of GPU memory needs a GPU, real or simulated: {device.explanation}")]
    with tempfile.TemporaryDirectory(prefix="memprof-pytest-") as folder:
        file = Path(folder, "reports.json")
        wanted = {**asdict(task), "file": str(file), "name": device.name, "source": device.source.value}
        process = subprocess.run(
            _command(item),
            env={**_environment(), **device.environment, _VARIABLE: json.dumps(wanted)},
            cwd=item.config.invocation_params.dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            said = (process.stdout + process.stderr)[-_LONGEST_OUTPUT:]
            return [failure(item, f"the process of this test ended with status {process.returncode}\n{said}")]
    serialized = item.config.hook.pytest_report_from_serializable
    return [serialized(config=item.config, data=data) for data in found]


def _command(item: pytest.Item) -> Sequence[str]:
    config = item.config
    ini = ["-c", str(config.inipath)] if config.inipath else []
    return [
        *(sys.executable, "-m", "pytest", item.nodeid, "-p", _PLUGIN, "-p", __name__, "-p", "no:cacheprovider"),
        *("-o", "addopts="),
        *(*ini, "--rootdir", str(config.rootpath), "--import-mode", str(config.getoption("importmode"))),
    ]


def _environment() -> Mapping[str, str]:
    left_out = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PYTHONPATH": child_python_path()}


def failure(item: pytest.Item, reason: str) -> pytest.TestReport:
    """Return the report of a test that could not run."""
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=reason,
        when="call",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take part in the process that `run_in_child` has started."""
    wanted = os.environ.pop(_VARIABLE, None)
    if wanted is not None:
        config.pluginmanager.register(_Child(config, json.loads(wanted)), "memprof-child")


class _Child:
    """Collects the reports of the one test, judges its peak, and writes them to a file."""

    def __init__(self, config: pytest.Config, wanted: dict[str, Any]) -> None:
        self._config = config
        self._file, self._name, self._source = (wanted.pop(key) for key in ("file", "name", "source"))
        self._task = Task(**wanted)
        self._reports: list[dict[str, Any]] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Judge the peak after the test, before its fixtures end."""
        outcome: Any = yield
        report: pytest.TestReport = outcome.get_result()
        if report.when != "call":
            return
        memory = GpuMemory()
        measured = {
            "wanted": self._task.gpu,
            "gpu": self._name,
            "source": self._source,
            "peak_allocated_bytes": memory.peak_allocated_bytes,
            "peak_reserved_bytes": memory.peak_reserved_bytes,
        }
        report.user_properties.append((PROPERTY, json.dumps(measured)))
        if report.passed and (problem := self._problem(memory.peak_allocated_bytes)):
            report.outcome, report.longrepr = "failed", problem
        elif report.failed and call.excinfo is not None and call.excinfo.typename == "OutOfMemoryError":
            report.longrepr = f"does not fit on {self._name}: {call.excinfo.value}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect a report."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._reports.append(data)

    def pytest_sessionfinish(self) -> None:
        """Write the reports, if the test was found."""
        if self._reports:
            Path(self._file).write_text(json.dumps(self._reports), encoding="utf-8")

    def _problem(self, peak_bytes: int) -> str | None:
        task, peak = self._task, format_bytes(peak_bytes)
        where = f"on {self._name} ({self._source})"
        if task.limit_bytes is not None and peak_bytes > task.limit_bytes:
            return f"peak allocated GPU memory {peak} {where} is above the limit of {format_bytes(task.limit_bytes)}"
        if task.baseline_bytes is None or task.most_percent is None:
            return None
        if 100 * (peak_bytes - task.baseline_bytes) > task.most_percent * task.baseline_bytes:
            before = format_bytes(task.baseline_bytes)
            return f"peak allocated GPU memory {peak} {where} grew by more than {task.most_percent:g} % from {before}"
        return None


def _cuda() -> ModuleType | None:
    """Return `torch.cuda` if the test has used it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
