"""The worker server on a phantom: every way in which a point can end, and what it leaves of the others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memprof.config.load import LoadedConfig
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.errors import ConfigError, DeviceError, WorkloadError
from memprof.gpus.select import Device
from memprof.records import Outcome, Source, Status
from memprof.worker.client import WorkerClient

SGD = OptimizerConfig(name="sgd")
PRINTS, HANGS, SEGFAULTS, EXITS, RAISES, LEAVES, FILLS, WEIGHS = 7, 11, 13, 17, 19, 23, 29, 31

HOSTILE = f"""
    import ctypes, os, sys, time
    import torch

    class Hostile(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)
            self.steps = 0

        def forward(self, x):
            real = type(x) is torch.Tensor and x.is_cuda
            size = len(x) if real else 0
            if size == {PRINTS}:
                print('{{"type": "ready"}}')
                os.write(1, b"a line of its own\\n")
            if size == {HANGS}:
                time.sleep(1000)
            if size == {SEGFAULTS}:
                ctypes.string_at(0)
            if size == {EXITS}:
                sys.exit(3)
            if size == {RAISES}:
                raise RuntimeError("no such luck\\nand more")
            if size == {LEAVES}:
                os._exit(5)
            if size == {FILLS}:
                self.more = torch.empty(2**40, device=x.device)
            if size == {WEIGHS}:
                self.steps += 1
                if self.steps == 3:
                    raise RuntimeError(open("/proc/self/statm").read().split()[1])
            return self.linear(x)

    def build():
        print("the factory prints, too")
        return Hostile()

    def touch_cuda():
        torch.zeros(1, device="cuda")
        return Hostile()

    def crash():
        ctypes.string_at(0)

    def hang():
        time.sleep(1000)
"""


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedConfig]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hostile.py").write_text(textwrap.dedent(HOSTILE))

    def load_factory(factory: str, **settings: object) -> LoadedConfig:
        config = {
            "name": "hostile",
            "model": f"hostile.py:{factory}",
            "input": {"shape": [4]},
            "target": {"shape": [], "dtype": "int64", "range": [0, 2]},
            "timeout_seconds": 120,
            **settings,
        }
        return LoadedConfig(config=SweepConfig.model_validate(config), folder=folder, path=folder / "hostile.yaml")

    return load_factory


@pytest.fixture(scope="module")
def client(load: Callable[..., LoadedConfig], phantom_device_h100: Device) -> Iterator[WorkerClient]:
    with WorkerClient(load("build"), phantom_device_h100) as client:
        yield client


def run(client: WorkerClient, *batch_sizes: int, jobs: int = 1) -> list[Outcome]:
    return list(client.outcomes([(SGD, size) for size in batch_sizes], jobs))


def children_of(process: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_during(client: WorkerClient, choose: Callable[[int], int]) -> tuple[threading.Thread, list[int]]:
    """Start a thread that waits for a child of the server and sends SIGKILL to the process chosen."""
    server, seen = client.server_pid, list[int]()
    assert server is not None

    def kill() -> None:
        wait_for(lambda: bool(children_of(server)))
        seen.extend(children_of(server))
        os.kill(choose(server), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread, seen


def test_a_killed_child_is_a_killed_outcome_and_the_others_are_intact(client: WorkerClient) -> None:
    client.environment()
    server = client.server_pid
    thread, _ = kill_during(client, lambda server: children_of(server)[0])
    killed, *others = run(client, HANGS, 1, 2)
    thread.join()
    assert killed.status is Status.KILLED
    assert killed.error is not None
    assert killed.error.startswith("killed by SIGKILL")
    assert [outcome.status for outcome in others] == [Status.OK, Status.OK]
    assert client.server_pid == server


def test_when_the_server_is_killed_its_point_is_killed_and_a_new_server_goes_on(client: WorkerClient) -> None:
    client.environment()
    server = client.server_pid
    thread, children = kill_during(client, lambda server: server)
    killed, *others = run(client, HANGS, 1, 2)
    thread.join()
    assert killed.status is Status.KILLED
    assert killed.error is not None
    assert "SIGKILL" in killed.error
    assert [outcome.status for outcome in others] == [Status.OK, Status.OK]
    assert client.server_pid != server
    assert children
    wait_for(lambda: not any(is_alive(child) for child in children))


def test_running_out_of_memory_is_an_outcome_that_keeps_its_reading(client: WorkerClient) -> None:
    oom, after = run(client, FILLS, 1)
    assert oom.status is Status.OOM
    assert oom.error is not None
    assert oom.error.startswith("forward of step 1: CUDA out of memory. Tried to allocate 4096.00 GiB.")
    assert oom.reading is not None
    assert oom.reading.peak_allocated_bytes > 0
    assert after.status is Status.OK


def test_a_crash_an_exit_and_an_exception_are_errors_that_say_so(client: WorkerClient) -> None:
    crashed, exited, raised, left = run(client, SEGFAULTS, EXITS, RAISES, LEAVES, jobs=2)
    errors = (crashed, exited, raised, left)
    assert {outcome.status for outcome in errors} == {Status.ERROR}
    assert crashed.error == "crashed: SIGSEGV"
    assert str(exited.error).startswith("SystemExit: 3 (")
    assert str(raised.error).startswith("forward of step 1: RuntimeError: no such luck (")
    assert "hostile.py:" in str(raised.error)
    assert left.error == "the process exited with status 5 before it had a result"


def test_what_a_model_prints_goes_to_stderr_and_not_between_the_messages(
    client: WorkerClient, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(client, PRINTS)[0].status is Status.OK
    printed = capfd.readouterr()
    assert printed.out == ""


def test_outcomes_keep_the_order_of_their_points_when_several_run_at_once(client: WorkerClient) -> None:
    outcomes = run(client, RAISES, 1, 4096, 2, FILLS, jobs=3)
    wanted = [Status.ERROR, Status.OK, Status.OK, Status.OK, Status.OOM]
    assert [outcome.status for outcome in outcomes] == wanted


def test_a_point_reads_the_same_whether_it_runs_alone_or_beside_others(client: WorkerClient) -> None:
    assert run(client, 1, 512, 2, jobs=2)[1] == run(client, 512)[0]


def test_a_phantoms_steps_have_no_time(client: WorkerClient) -> None:
    reading = run(client, 8)[0].reading
    assert reading is not None
    assert len(reading.steps) == 3
    assert all(step.seconds is None for step in reading.steps)


def test_a_child_takes_at_most_three_tenths_more_host_memory_than_the_bare_imports(
    client: WorkerClient,
) -> None:
    code = "import torch, torchvision; print(open('/proc/self/statm').read().split()[1])"
    bare = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    error = str(run(client, WEIGHS)[0].error)
    pages = re.search(r"RuntimeError: (\d+)", error)
    assert pages is not None, error
    assert int(pages[1]) <= 1.3 * int(bare)


def test_a_point_past_its_time_is_stopped_and_the_next_one_runs(
    load: Callable[..., LoadedConfig], phantom_device: Device
) -> None:
    with WorkerClient(load("build", timeout_seconds=4), phantom_device) as client:
        late, after = run(client, HANGS, 1)
    assert late == Outcome(status=Status.TIMEOUT, error="not done after 4 s (timeout_seconds)")
    assert after.status is Status.OK


def test_a_factory_that_touches_cuda_is_built_in_each_child(
    load: Callable[..., LoadedConfig], phantom_device: Device
) -> None:
    with WorkerClient(load("touch_cuda"), phantom_device) as client:
        assert client.environment().gpu == phantom_device.name
        outcomes = run(client, 1, SEGFAULTS, 2)
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.ERROR, Status.OK]


def test_a_factory_that_crashes_is_refused_with_the_signal(
    load: Callable[..., LoadedConfig], phantom_device: Device
) -> None:
    with WorkerClient(load("crash"), phantom_device) as client, pytest.raises(WorkloadError, match="SIGSEGV"):
        client.environment()


def test_a_factory_that_hangs_is_refused_after_the_time_limit(
    load: Callable[..., LoadedConfig], phantom_device: Device
) -> None:
    loaded = load("hang", timeout_seconds=1)
    with (
        WorkerClient(loaded, phantom_device) as client,
        pytest.raises(WorkloadError, match="not done after 1 s"),
    ):
        client.environment()


def test_allocator_settings_that_torch_does_not_know_are_the_configs_fault(
    load: Callable[..., LoadedConfig], phantom_device: Device
) -> None:
    loaded = load("build", allocator="no_such_setting:1")
    with WorkerClient(loaded, phantom_device) as client, pytest.raises(ConfigError, match="no_such_setting"):
        client.environment()


def test_without_a_gpu_the_worker_says_so_in_one_line(load: Callable[..., LoadedConfig]) -> None:
    nothing = {"CUDA_VISIBLE_DEVICES": ""}
    device = Device(source=Source.MEASURED, name="none", index=0, environment=nothing, total_bytes=None, explanation="")
    with WorkerClient(load("build"), device) as client, pytest.raises(DeviceError) as refusal:
        client.environment()
    assert str(refusal.value).startswith("the GPU cannot be used: ")
    assert "\n" not in str(refusal.value)
