"""`memprof run`: any command on a phantom. Output, status and signals pass through; the peak is printed at the end."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.run import RunRequest, run_command
from memprof.units import GIB, MIB, format_bytes, format_share
from tests.paths import WORKLOADS

BANNER = "memprof: simulated Tesla T4: tensor values are zeros, checkpoints are kept apart from your files\n"
NO_MEMORY = "memprof: no GPU memory was used on t4 (phantom)\n"

pytestmark = pytest.mark.usefixtures("phantom_libraries")


def command_line(gpu: str, *command: str) -> list[str]:
    return [sys.executable, "-m", "memprof", "run", "--gpu", gpu, "--", *command]


def memprof_run(gpu: str, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(gpu, *command),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def started(*command: str) -> subprocess.Popen[str]:
    """A run in its own process group, after its command has printed that it is ready."""
    process = subprocess.Popen(
        command_line("t4", *command),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def program_that_catches(name: str) -> tuple[str, str, str]:
    code = f"""
    import signal, sys
    def end(number, frame):
        print("caught", signal.Signals(number).name, flush=True)
        sys.exit(5)
    signal.signal(signal.{name}, end)
    print("ready", flush=True)
    while True:
        signal.pause()
    """
    return sys.executable, "-c", textwrap.dedent(code)


def test_output_and_exit_status_are_those_of_the_command() -> None:
    finished = memprof_run("t4", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert finished.returncode == 7
    assert finished.stdout == "out\n"
    assert finished.stderr == f"{BANNER}err\n{NO_MEMORY}"


def test_input_goes_to_the_command() -> None:
    assert memprof_run("t4", "cat", given="to the cat\n").stdout == "to the cat\n"


def test_options_after_the_command_belong_to_it() -> None:
    finished = memprof_run("t4", "echo", "--gpu", "h100", "--help")
    assert finished.stdout == "--gpu h100 --help\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_run_ends_by_the_signal_that_ended_the_command(number: signal.Signals) -> None:
    finished = memprof_run("t4", "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
    assert finished.returncode == -number
    assert finished.stderr.endswith(NO_MEMORY)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_signal_to_the_run_goes_on_to_the_command(name: str) -> None:
    process = started(*program_that_catches(name))
    process.send_signal(signal.Signals[name])
    printed, complaints = process.communicate(timeout=60)
    assert printed == f"caught {name}\n"
    assert process.returncode == 5
    assert complaints == BANNER + NO_MEMORY


def test_run_leaves_an_interrupt_to_the_command() -> None:
    process = started(*program_that_catches("SIGINT"))
    os.killpg(process.pid, signal.SIGINT)
    printed, complaints = process.communicate(timeout=60)
    assert (printed, process.returncode) == ("caught SIGINT\n", 5)
    assert complaints == BANNER + NO_MEMORY


def test_a_command_that_does_not_exist_is_refused_in_one_line() -> None:
    finished = memprof_run("t4", "no-such-command", "--option")
    assert finished.returncode == 2
    assert finished.stderr == "memprof: run: there is no command 'no-such-command'\n"


def test_a_file_that_is_no_program_is_refused_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"\x00\x01")
    script.chmod(0o755)
    finished = memprof_run("t4", str(script))
    assert finished.returncode == 2
    assert finished.stderr == f"{BANNER}memprof: run: the command '{script}' cannot be started: Exec format error\n"


def test_an_unknown_gpu_is_refused_with_the_nearest_names() -> None:
    finished = memprof_run("a100-40g", "true")
    assert finished.returncode == 4
    assert finished.stderr.startswith("memprof: there is no GPU 'a100-40g' in the catalog; did you mean a100-40gb")
    assert len(finished.stderr.splitlines()) == 1


@pytest.mark.parametrize("count", [0, 17])
def test_run_with_impossible_number_of_gpus_is_refused(count: int) -> None:
    finished = memprof_run(f"t4:{count}", "true")
    assert finished.returncode == 2
    assert finished.stderr == f"memprof: --gpu t4:{count}: a run has 1 to 16 phantom GPUs\n"


def test_run_prints_the_peak_with_the_context_on_stderr() -> None:
    gpu = find_gpu("rtx-4060")
    finished = memprof_run("rtx-4060", sys.executable, str(WORKLOADS / "share.py"), given=f"{GIB}\n")
    used = format_share(GIB + gpu.context_bytes, gpu.total_bytes)
    assert finished.returncode == 0
    assert json.loads(finished.stdout)["used"] == GIB + gpu.context_bytes
    lines = finished.stderr.splitlines()
    assert lines[0].startswith("memprof: simulated NVIDIA GeForce RTX 4060: tensor values are zeros, ")
    assert lines[1] == f"memprof: fits: {used} on rtx-4060 (phantom)"
    assert lines[2] == f"memprof: GPU 0: device memory {format_bytes(GIB + gpu.context_bytes)} (emulated)"
    assert re.fullmatch(
        rf"memprof: modelled: {format_bytes(gpu.context_bytes)}( \(assumed\))? for the CUDA context of each process",
        lines[3],
    )
    assert lines[4].startswith("memprof: next: memprof run --gpu rtx-4060 --snapshot peak.pickle -- ")


def test_several_gpus_have_their_own_memory() -> None:
    finished = memprof_run("h100-80gb:2", sys.executable, str(WORKLOADS / "two_devices.py"))
    assert finished.returncode == 0, finished.stderr
    found, context = json.loads(finished.stdout), find_gpu("h100-80gb").context_bytes
    assert found["count"] == 2
    assert found["held"] == [3 * GIB, GIB]
    small_segment = 2 * MIB  # of the tensors that went from one to the other
    assert found["used"] == [held + context + small_segment for held in found["held"]]
    for gpu, used in enumerate(found["used"]):
        line = (
            rf"memprof: GPU {gpu}: device memory {format_bytes(used)} \(emulated\); process \d+: allocated .*, reserved"
        )
        assert re.search(line, finished.stderr)


def test_workspaces_that_are_modelled_are_counted_at_the_end() -> None:
    code = "import torch; torch.nn.LSTM(8, 8).cuda()(torch.zeros(1, 1, 8, device='cuda'))"
    finished = memprof_run("t4", sys.executable, "-c", code)
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"; \d+ cuDNN workspaces are modelled or unknown\n", finished.stderr)


def test_a_program_that_ends_right_after_backward_ends_well() -> None:
    finished = memprof_run("t4", sys.executable, str(WORKLOADS / "exits.py"))
    assert finished.returncode == 0, finished.stderr
    assert "terminate called" not in finished.stderr


@pytest.mark.skipif(importlib.util.find_spec("nvitop") is None, reason="nvitop is not installed")
def test_nvitop_shows_the_phantom() -> None:
    finished = memprof_run("a100-80gb", sys.executable, "-m", "nvitop", "-1")
    assert finished.returncode == 0, finished.stderr
    assert "A100-SXM4-80GB" in finished.stdout
    assert "79.26GiB" in finished.stdout


def test_run_command_returns_the_exit_status_and_the_ledger(phantom_libraries: PhantomLibraries) -> None:
    assert phantom_libraries.preload.is_file()
    ended = run_command(RunRequest(spec=find_gpu("t4"), command=["sh", "-c", "exit 3"]))
    assert (ended.returncode, ended.ledger, ended.counters) == (3, None, ())
