"""The pytest plugin: tests of GPU memory that need no GPU. `pytest --gpu-memory` switches it on.

Each test with a marker or the fixture runs in a process of its own, on a phantom GPU or the real one. So this process
needs neither a GPU nor torch, and no test changes the memory of another. pytest loads this module in every session, so
it imports only what is needed then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memprof.integrations.pytest_task import PROPERTY, Task

if TYPE_CHECKING:
    from memprof.integrations.pytest_child import GpuMemory

_MARKERS = {
    "limit_gpu_memory": "limit_gpu_memory(limit, gpu='auto'): fail if the peak of allocated GPU memory is higher than "
    "limit, for example '8 GiB'.",
    "fits": "fits(*gpus): run on each of these GPUs, for example fits('t4', 'rtx-4090'), and fail if memory runs out.",
}
_BASELINE_VERSION = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("memprof", "GPU memory (memprof)")
    group.addoption("--gpu-memory", action="store_true", help="run the tests of GPU memory; they are skipped otherwise")
    group.addoption("--gpu-memory-save", metavar="FILE", type=Path, help="save the peaks as a baseline")
    group.addoption("--gpu-memory-compare", metavar="FILE", type=Path, help="compare the peaks with a baseline")
    group.addoption("--fail-on-increase", metavar="PERCENT", help="fail a test that grew by more than this, e.g. 2%%")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and read the options."""
    for text in _MARKERS.values():
        config.addinivalue_line("markers", text)
    if _is_on(config):
        config.pluginmanager.register(_Session(config), "memprof-session")
    elif given := [name for name in ("save", "compare") if config.getoption(f"gpu_memory_{name}")]:
        raise pytest.UsageError(f"--gpu-memory-{given[0]} needs --gpu-memory")


@pytest.fixture
def gpu_memory(request: pytest.FixtureRequest) -> GpuMemory:
    """The GPU memory of this test, which runs in a process of its own."""
    from memprof.integrations.pytest_child import GpuMemory

    del request
    return GpuMemory()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of GPU memory unless they are switched on."""
    if _is_concerned(item) and not _is_on(item.config) and not _is_child(item.config):
        pytest.skip("a test of GPU memory: run pytest --gpu-memory")


class _Session:
    """A session with `--gpu-memory`: starts the processes, collects what they measured, reports and saves it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: dict[str, Mapping[str, Any]] = {}
        self._most_percent = _percent(config.getoption("fail_on_increase"))
        compared = config.getoption("gpu_memory_compare")
        self._baseline = _read_baseline(compared, "--gpu-memory-compare") if compared else {}
        if self._most_percent is not None and not compared:
            raise pytest.UsageError("--fail-on-increase needs --gpu-memory-compare FILE")
        saved = config.getoption("gpu_memory_save")
        if saved and saved.exists():
            _read_baseline(saved, "--gpu-memory-save")  # another file is not replaced

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Run a test of GPU memory in its own process."""
        if not _is_concerned(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect a measurement; with xdist, those of all its workers arrive here."""
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, str):
                self._found[report.nodeid] = json.loads(value)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print a line for each test, and save the baseline."""
        if not self._found:
            return
        terminalreporter.section("GPU memory (memprof)")
        for nodeid, found in sorted(self._found.items()):
            terminalreporter.write_line(f"{_describe(found, self._baseline.get(nodeid))}  {nodeid}")
        saved: Path | None = self._config.getoption("gpu_memory_save")
        if saved is not None and not hasattr(self._config, "workerinput"):
            _save_baseline(saved, self._found)
            terminalreporter.write_line(f"saved {len(self._found)} in {saved}")

    def _run(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Return the reports of the first GPU on which the test fails, else those of the last."""
        from memprof.integrations.pytest_child import failure, run_in_child

        reports: list[pytest.TestReport] = []
        try:
            for task in self._tasks(item):
                reports = run_in_child(item, task)
                if any(report.failed for report in reports):
                    break
        except ValueError as error:
            return [failure(item, str(error))]
        return reports

    def _tasks(self, item: pytest.Item) -> list[Task]:
        """Return what the markers ask for.

        Raises:
            ValueError: a marker is wrong.
        """
        limited, fits = item.get_closest_marker("limit_gpu_memory"), item.get_closest_marker("fits")
        gpus, limit_bytes = ["auto"], None
        if limited is not None:
            limit_bytes, gpu = _limit(*limited.args, **limited.kwargs)
            gpus = [gpu]
        if fits is not None:
            gpus = list(fits.args)
            if not gpus or not all(isinstance(gpu, str) for gpu in gpus) or fits.kwargs:
                raise ValueError("fits needs names of GPUs, for example fits('t4')")
        before = self._baseline.get(item.nodeid, {})
        return [
            Task(
                gpu=gpu,
                limit_bytes=limit_bytes,
                baseline_bytes=before.get("peak_allocated_bytes") if before.get("wanted") == gpu else None,
                most_percent=self._most_percent,
            )
            for gpu in gpus
        ]


def _is_on(config: pytest.Config) -> bool:
    return bool(config.getoption("gpu_memory"))


def _is_child(config: pytest.Config) -> bool:
    return config.pluginmanager.hasplugin("memprof-child")


def _is_concerned(item: pytest.Item) -> bool:
    marked = any(item.get_closest_marker(name) for name in _MARKERS)
    return marked or "gpu_memory" in getattr(item, "fixturenames", ())


def _limit(limit: object = None, gpu: object = "auto", **others: object) -> tuple[int, str]:
    from memprof.units import parse_bytes

    if others or not isinstance(gpu, str):
        raise ValueError("limit_gpu_memory takes a limit and the name of a GPU: limit_gpu_memory('8 GiB', gpu='t4')")
    try:
        return parse_bytes(str(limit)), gpu
    except ValueError as error:
        raise ValueError(f"limit_gpu_memory: {error}") from None


def _percent(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent < float("inf"):
        raise pytest.UsageError(f"--fail-on-increase {text:.60}: write a percentage, for example 2%")
    return percent


def _read_baseline(file: Path, option: str) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(file.read_bytes())
        tests = document["tests"]
        if document["version"] != _BASELINE_VERSION or not all(_is_entry(entry) for entry in tests.values()):
            raise ValueError
    except OSError as error:
        raise pytest.UsageError(f"{option} {file}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise pytest.UsageError(f"{option} {file}: is not a file that --gpu-memory-save has written") from None
    return dict(tests)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("peak_allocated_bytes")) is int and "wanted" in entry


def _save_baseline(file: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the figures; those of tests that did not run this time stay."""
    before = _read_baseline(file, "--gpu-memory-save") if file.exists() else {}
    text = json.dumps({"version": _BASELINE_VERSION, "tests": {**before, **found}}, indent=2, sort_keys=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(file)


def _describe(found: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    from memprof.units import format_bytes

    change = ""
    if before is not None and before.get("wanted") == found["wanted"] and before["peak_allocated_bytes"]:
        growth = found["peak_allocated_bytes"] - before["peak_allocated_bytes"]
        change = f" ({100 * growth / before['peak_allocated_bytes']:+.1f} %)"
    return f"{format_bytes(found['peak_allocated_bytes']):>10}{change}  {found['gpu']} {found['source']}"
