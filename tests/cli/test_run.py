"""The options of `memprof run`: limits, several GPUs, the files it writes, and input that is refused."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from memprof.breakdown.snapshot import explain_snapshot
from memprof.errors import DeviceError
from memprof.gpus.phantom.build import build_phantom
from tests.cli.conftest import Memprof, one_line

TRAIN = "import sys, torch; x = torch.empty(int(sys.argv[1]), dtype=torch.uint8, device='cuda')"
MIB = 2**20


@pytest.fixture(scope="module", autouse=True)
def _phantom() -> None:
    try:
        build_phantom()
    except DeviceError as error:
        pytest.skip(str(error))


def program(size_bytes: int) -> tuple[str, ...]:
    return "--", sys.executable, "-c", TRAIN, str(size_bytes)


def test_run_above_max_exits_with_8_and_writes_json(memprof: Memprof, tmp_path: Path) -> None:
    file, snapshot = tmp_path / "peak.json", tmp_path / "peak.pickle"
    options = ("--gpu", "t4", "--max", "200MiB", "--json", str(file), "--snapshot", str(snapshot))
    ended = memprof("run", *options, *program(100 * MIB))
    assert ended.returncode == 8
    figures = json.loads(file.read_text())
    assert figures["peak_allocated_bytes"] == 100 * MIB
    assert f"above --max: device memory {figures['peak_device_bytes'] / MIB:.2f} MiB, limit 200.00 MiB" in ended.stderr
    assert ended.stderr.splitlines()[-1] == f"memprof: next: memprof explain {snapshot}"
    (explanation,) = explain_snapshot(snapshot).values()
    assert explanation.peak_allocated_bytes == figures["peak_allocated_bytes"]


def test_run_that_fails_keeps_its_status_above_max(memprof: Memprof) -> None:
    ended = memprof("run", "--gpu", "t4", "--max", "1MiB", "--", sys.executable, "-c", f"{TRAIN}; exit(5)", "4096")
    assert ended.returncode == 5
    assert "above --max" in ended.stderr


def test_run_with_fits_prints_a_table_and_exits_with_7(memprof: Memprof, tmp_path: Path) -> None:
    file = tmp_path / "fits.json"
    size = 15 * 2**30
    ended = memprof("run", "--fits", "t4,l4", "--fits", "t4", "--json", str(file), *program(size))
    assert ended.returncode == 7
    assert "\nfits on 1 of 2 GPUs: l4\n" in ended.stderr
    gpus = json.loads(file.read_text())["gpus"]
    assert [(gpu["gpu"], gpu["status"]) for gpu in gpus] == [("t4", "oom"), ("l4", "ok")]
    assert gpus[0]["needed_bytes"] == size + gpus[0]["context_bytes"]
    following = shlex.split(ended.stderr.splitlines()[-1])
    assert following[:6] == ["memprof:", "next:", "memprof", "run", "--gpu", "l4"]


@pytest.mark.parametrize(("code", "status"), [(0, 0), (3, 6)])
def test_run_with_fits_exits_with_0_or_6(code: int, status: int, memprof: Memprof) -> None:
    ended = memprof("run", "--fits", "t4,l4", "--", "sh", "-c", f"exit {code}")
    assert ended.returncode == status
    assert ended.stderr.count("memprof: simulated ") == 2
    assert "fits on 0 of 2 GPUs\n" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("--fits", "t4", "--gpu", "l4"), 2, "--fits cannot be combined with --gpu"),
        (("--fits", "t4", "--max", "1GiB"), 2, "--fits cannot be combined with --max"),
        (("--fits", "t4", "--snapshot", "x"), 2, "--fits cannot be combined with --snapshot"),
        (("--fits", ","), 2, "--fits: name GPUs that `memprof gpus` lists"),
        (("--fits", "t4,l44"), 4, "there is no GPU 'l44' in the catalog; did you mean l4"),
        (("--max", "lots"), 2, "--max: 'lots' is not a size; write for example 16GiB"),
        (("--max", "0"), 2, "--max 0: must be above 0"),
        (("--values", "gpu"), 2, "--values gpu: write zeros or cpu"),
        (("--values", "cpu", "--world-size", "2"), 2, "--values cpu: values of absent ranks are unknown"),
        (("--json", "/nowhere/peak.json"), 5, "--json /nowhere/peak.json: must be a file in a folder that exists"),
        (("--json", "/tmp"), 5, "--json /tmp: must be a file in a folder that exists"),
        (("--snapshot", "/nowhere/peak.pickle"), 5, "snapshot /nowhere/peak.pickle: cannot be written"),
    ],
)
def test_run_with_a_bad_option_runs_nothing(
    arguments: tuple[str, ...], status: int, complaint: str, call: Memprof, tmp_path: Path
) -> None:
    ended = call("run", *arguments, "--", "touch", str(tmp_path / "ran"))
    assert one_line(ended, status).startswith(f"memprof: {complaint}")
    assert not (tmp_path / "ran").exists()


VALUES = """
import torch
x = torch.arange(1000.0, device="cuda")
net = torch.nn.Linear(10, 10).cuda()
net(x[x >= 400].view(-1, 10)).sum().backward()
print(len(x[x >= 400]), net.weight.grad.sum().item() > 0)
"""


def test_run_with_values_takes_the_real_path(memprof: Memprof, tmp_path: Path) -> None:
    script = tmp_path / "values.py"
    script.write_text(VALUES)
    done = memprof("run", "--values", "cpu", "--", sys.executable, str(script))
    assert (done.returncode, done.stdout) == (0, "600 True\n")
    assert "the CPU computes tensor values" in done.stderr
    assert "memprof phantom: values: the CPU computed " in done.stderr
    assert "Traceback" not in done.stderr


DDP = """
import os, torch, torch.distributed as dist
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1024, 1024).cuda())
for _ in range(2):
    model(torch.ones(8, 1024, device="cuda")).sum().backward()
objects = [None] * dist.get_world_size()
dist.all_gather_object(objects, dist.get_rank())
dist.barrier()
print(objects)
"""


def test_run_one_rank_of_an_unmodified_ddp_script(memprof: Memprof, tmp_path: Path) -> None:
    file = tmp_path / "peak.json"
    options = ("--gpu", "h100-80gb", "--rank", "3", "--world-size", "4", "--json", str(file))
    ended = memprof("run", *options, "--", sys.executable, "-W", "ignore", "-c", DDP)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[3, 3, 3, 3]\n"  # absent ranks send what this one sends
    assert "memprof: rank 3 of 4 ran; the other ranks are absent" in ended.stderr.splitlines()
    assert "memprof: NCCL: 1 communicator; its GPU memory is unknown and not counted." in ended.stderr
    assert "next: memprof run --gpu h100-80gb --rank 3 --world-size 4 --snapshot" in ended.stderr
    figures = json.loads(file.read_text())
    assert (figures["rank"], figures["world_size"], figures["communicators"]) == (3, 4, 1)
    assert figures["unknown_workspaces"] == 0
    assert figures["peak_allocated_bytes"] >= 3 * 1024 * 1024 * 4  # weights, gradients, a bucket


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--rank", "3"), "--rank 3: write how many ranks there are too, for example --world-size 8"),
        (("--rank", "4", "--world-size", "4"), "--rank 4 --world-size 4: a rank is a number from 0 to world size - 1"),
        (("--world-size", "0"), "--rank 0 --world-size 0: a rank is a number from 0 to world size - 1"),
    ],
)
def test_run_refuses_a_rank_that_is_not_there(memprof: Memprof, options: tuple[str, ...], problem: str) -> None:
    ended = memprof("run", *options, "--", "true")
    assert one_line(ended, 2) == f"memprof: {problem}"


def test_run_refuses_launchers_of_ranks(memprof: Memprof) -> None:
    ended = memprof("run", "--world-size", "4", "--", "torchrun", "train.py")
    assert one_line(ended, 2).startswith("memprof: --world-size 4: torchrun starts ranks itself")
