"""The client on a phantom: every way in which a point can end, without an effect on the other points."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest

from memprof.config.load import LoadedConfig
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.errors import ConfigError, DeviceError, WorkloadError
from memprof.gpus.select import Device
from memprof.gpus.traits import default_traits
from memprof.records import Outcome, Source, Status
from memprof.worker.client import WorkerClient
from memprof.worker.output import LIMIT_BYTES
from memprof.worker.protocol import DescribeReply, DescribeRequest
from tests.worker.processes import children_of, is_alive, wait_for

Load = Callable[..., LoadedConfig]

SGD = OptimizerConfig(name="sgd")
# The batch sizes at which the model below misbehaves.
PRINTS, HANGS, SEGFAULTS, EXITS, RAISES, QUITS, FILLS, WEIGHS, FLOODS = 7, 11, 13, 17, 19, 23, 29, 31, 37

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
            if size == {QUITS}:
                os._exit(5)
            if size == {FLOODS}:
                for stream in (sys.stdout, sys.stderr):
                    for _ in range(50):
                        stream.write("x" * 1_000_000)
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

    def replace_json():
        import json
        json.dumps = json.loads = None
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
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
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
def client(load: Load, phantom_device_h100: Device) -> Iterator[WorkerClient]:
    with WorkerClient(load("build"), phantom_device_h100) as client:
        yield client


def run(client: WorkerClient, *batch_sizes: int, jobs: int = 1) -> list[Outcome]:
    return list(client.outcomes([(SGD, size) for size in batch_sizes], jobs))


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


def test_killed_child_is_one_killed_outcome(client: WorkerClient) -> None:
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


def test_killed_server_is_replaced_for_the_other_points(client: WorkerClient) -> None:
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


def test_out_of_memory_keeps_its_reading(client: WorkerClient) -> None:
    oom, after = run(client, FILLS, 1)
    assert oom.status is Status.OOM
    assert oom.error is not None
    assert oom.error.startswith("forward of step 1: CUDA out of memory. Tried to allocate 4096.00 GiB.")
    assert oom.reading is not None
    assert oom.reading.peak_allocated_bytes > 0
    assert after.status is Status.OK


def test_crash_exit_and_exception_are_errors_with_a_reason(client: WorkerClient) -> None:
    crashed, exited, raised, left = run(client, SEGFAULTS, EXITS, RAISES, QUITS, jobs=2)
    errors = (crashed, exited, raised, left)
    assert {outcome.status for outcome in errors} == {Status.ERROR}
    assert crashed.error == "crashed: SIGSEGV"
    assert str(exited.error).startswith("SystemExit: 3 (")
    assert str(raised.error).startswith("forward of step 1: RuntimeError: no such luck (")
    assert "hostile.py:" in str(raised.error)
    assert left.error == "the process exited with status 5 before it had a result"


def test_model_output_goes_to_stderr(load: Load, phantom_device: Device, capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerClient(load("build"), phantom_device) as client:
        assert run(client, PRINTS)[0].status is Status.OK
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "the factory prints, too\n" in printed.err
    assert '{"type": "ready"}\n' in printed.err


def test_model_output_of_100_mb_is_cut(load: Load, phantom_device: Device, capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerClient(load("build"), phantom_device) as client:
        assert [outcome.status for outcome in run(client, FLOODS, 1)] == [Status.OK, Status.OK]
    printed = capfd.readouterr()
    note = "\nmemprof: the model printed more than 64.00 KiB; the rest is not shown\n"
    assert printed.err.endswith(note)
    assert len(printed.err) == LIMIT_BYTES + len(note)


def test_model_that_replaces_json_functions_is_measured(load: Load, phantom_device: Device) -> None:
    with WorkerClient(load("replace_json"), phantom_device) as client:
        outcomes = run(client, 1, RAISES, 2)
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.ERROR, Status.OK]


def test_request_after_abandoned_outcomes_gets_its_own_reply(client: WorkerClient) -> None:
    outcomes = client.timed_outcomes([(SGD, 1), (SGD, 2)], 2)
    next(outcomes)
    outcomes.close()  # the second point is still running
    assert client.request(DescribeRequest(), DescribeReply).environment == client.environment()


def test_outcomes_of_several_jobs_keep_their_order(client: WorkerClient) -> None:
    outcomes = run(client, RAISES, 1, 4096, 2, FILLS, jobs=3)
    wanted = [Status.ERROR, Status.OK, Status.OK, Status.OK, Status.OOM]
    assert [outcome.status for outcome in outcomes] == wanted


def test_point_next_to_others_reads_the_same_as_alone(client: WorkerClient) -> None:
    assert run(client, 1, 512, 2, jobs=2)[1] == run(client, 512)[0]


def test_step_on_a_phantom_has_no_time(client: WorkerClient) -> None:
    reading = run(client, 8)[0].reading
    assert reading is not None
    assert len(reading.steps) == 5
    assert all(step.seconds is None for step in reading.steps)


def test_child_takes_at_most_30_percent_more_than_the_imports(
    client: WorkerClient,
) -> None:
    code = "import torch, torchvision; print(open('/proc/self/statm').read().split()[1])"
    bare = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    error = str(run(client, WEIGHS)[0].error)
    pages = re.search(r"RuntimeError: (\d+)", error)
    assert pages is not None, error
    assert int(pages[1]) <= 1.3 * int(bare)


def test_point_past_its_time_limit_is_ended(load: Load, phantom_device: Device) -> None:
    with WorkerClient(load("build", timeout_seconds=4), phantom_device) as client:
        late, after = run(client, HANGS, 1)
    assert late == Outcome(status=Status.TIMEOUT, error="not done after 4 s (timeout_seconds)")
    assert after.status is Status.OK


def test_factory_that_uses_cuda_is_run_in_each_child(load: Load, phantom_device: Device) -> None:
    with WorkerClient(load("touch_cuda"), phantom_device) as client:
        assert client.environment().gpu == phantom_device.name
        outcomes = run(client, 1, SEGFAULTS, 2)
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.ERROR, Status.OK]


def test_factory_that_crashes_is_an_error_with_the_signal(load: Load, phantom_device: Device) -> None:
    with WorkerClient(load("crash"), phantom_device) as client, pytest.raises(WorkloadError, match="SIGSEGV"):
        client.environment()


def test_factory_that_hangs_is_an_error_after_the_time_limit(load: Load, phantom_device: Device) -> None:
    loaded = load("hang", timeout_seconds=1)
    with (
        WorkerClient(loaded, phantom_device) as client,
        pytest.raises(WorkloadError, match="not done after 1 s"),
    ):
        client.environment()


def test_unknown_allocator_settings_are_a_config_error(load: Load, phantom_device: Device) -> None:
    loaded = load("build", allocator="no_such_setting:1")
    with WorkerClient(loaded, phantom_device) as client, pytest.raises(ConfigError, match="no_such_setting"):
        client.environment()


def test_missing_gpu_is_a_device_error_of_one_line(load: Load) -> None:
    nothing = {"CUDA_VISIBLE_DEVICES": ""}
    device = Device(
        source=Source.MEASURED,
        name="none",
        index=0,
        environment=nothing,
        total_bytes=None,
        traits=default_traits(),
        explanation="",
    )
    with WorkerClient(load("build"), device) as client, pytest.raises(DeviceError) as refusal:
        client.environment()
    assert str(refusal.value).startswith("the GPU cannot be used: ")
    assert "\n" not in str(refusal.value)
