"""A sweep on a real Ray cluster of this machine: the same figures, and nothing lost whatever ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memprof.engines import ray_cluster as connection
from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.cli.conftest import Memprof, interrupt, one_line, write_slow_config
from tests.engines.local_cluster import LocalCluster
from tests.paths import PACKAGE, ROOT
from tests.worker.processes import wait_for

STARTING_SECONDS = 240  # of a cluster's runners on a busy machine
TWO: dict[str, dict[str, Any]] = {"first": {}, "second": {}}


@pytest.fixture
def two_nodes(ray_cluster: LocalCluster, phantom_device_h100: Device) -> LocalCluster:
    """The cluster with two nodes of one CPU each."""
    assert phantom_device_h100.name == "h100-80gb"
    ray_cluster.use(TWO)
    return ray_cluster


def on_ray(cluster: LocalCluster, *more: str) -> list[str]:
    return ["--gpu", "h100-80gb", "--json", "--engine", "ray", "--address", cluster.address, *more]


def sizes(folder: Path) -> list[int]:
    """Return the batch sizes of the rows that are saved."""
    (file,) = folder.glob("*/*/records.jsonl")
    return [json.loads(line)["batch_size"] for line in file.read_text().splitlines()]


def has_no_runners(cluster: LocalCluster) -> Callable[[], bool]:
    return lambda: cluster.free_cpus() == len(cluster.nodes)


def test_ray_sweep_equals_the_local_one(memprof: Memprof, two_nodes: LocalCluster, tmp_path: Path) -> None:
    # The user's own model with the file that it imports, and a built-in one, from two folders.
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "width.py").write_text("WIDTH = 128\n")
    (tmp_path / "sub" / "net.py").write_text(
        "import torch, width\ndef build(): return torch.nn.Linear(4, width.WIDTH)\n"
    )
    own = tmp_path / "own.yaml"
    own.write_text(
        "model: sub/net.py:build\ninput: {shape: [4]}\nloss: sum\noptimizers: [sgd, adam]\nbatch_sizes: [1, 64]\n"
    )
    command = ["sweep", str(own), str(ROOT / "configs/mnist_cnn.yaml"), "--batch-size", "1,64"]
    local = memprof(*command, "--gpu", "h100-80gb", "--json", "--output-dir", str(tmp_path / "local"))
    remote = memprof(*command, *on_ray(two_nodes, "--output-dir", str(tmp_path / "ray")), cwd=tmp_path)
    assert (local.returncode, remote.returncode) == (ExitCode.OK, ExitCode.OK), remote.stderr
    assert json.loads(remote.stdout) == json.loads(local.stdout)
    wait_for(has_no_runners(two_nodes))


def test_ray_compare_equals_the_local_one(memprof: Memprof, two_nodes: LocalCluster, tmp_path: Path) -> None:
    command = ["compare", "configs/mnist_cnn.yaml", "--vary", "optimizer=sgd,adam", "--vary", "gpu=t4", "--json"]
    local = memprof(*command, "--gpu", "h100-80gb", "--output-dir", str(tmp_path / "local"))
    remote = memprof(*command, *on_ray(two_nodes, "--output-dir", str(tmp_path / "ray")))
    assert (local.returncode, remote.returncode) == (ExitCode.OK, ExitCode.OK), remote.stderr
    assert json.loads(remote.stdout) == json.loads(local.stdout)


def test_ray_max_batch_equals_the_local_one(memprof: Memprof, two_nodes: LocalCluster, tmp_path: Path) -> None:
    command = ["max-batch", "configs/mnist_cnn.yaml", "--gpu", "t4,rtx-4090", "--max", "64", "--json"]
    local = memprof(*command, "--output-dir", str(tmp_path / "local"))
    remote = memprof(*command, *on_ray(two_nodes, "--output-dir", str(tmp_path / "ray"))[2:])
    assert (local.returncode, remote.returncode) == (ExitCode.OK, ExitCode.OK), remote.stderr
    assert without_seconds(remote.stdout) == without_seconds(local.stdout)


def without_seconds(text: str) -> Any:
    """Return a document of max-batch without the durations, which differ from run to run."""
    return json.loads(text, object_hook=lambda found: {key: found[key] for key in found if key != "seconds"})


def test_ray_sweep_survives_a_killed_node(two_nodes: LocalCluster, tmp_path: Path) -> None:
    config, results = write_slow_config(tmp_path, "1, 2, 3, 4, 5, 6, 7, 8"), tmp_path / "results"
    with started(["sweep", str(config), *on_ray(two_nodes, "--output-dir", str(results))]) as running:
        wait_for(lambda: len(saved(results)) >= 3, STARTING_SECONDS)
        two_nodes.kill("second")
        out, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.OK, err
    rows = json.loads(out)["rows"]
    assert [(row["batch_size"], row["status"]) for row in rows] == [(size, "ok") for size in range(1, 9)]
    assert sizes(results) == list(range(1, 9))
    assert err.count("a point was lost on ") == 1
    assert "Traceback" not in err


def test_ray_driver_killed_resumes_from_its_folder(memprof: Memprof, two_nodes: LocalCluster, tmp_path: Path) -> None:
    config, results = write_slow_config(tmp_path, "1, 2, 3, 4, 5, 6"), tmp_path / "results"
    command = ["sweep", str(config), *on_ray(two_nodes, "--output-dir", str(results))]
    stopped = interrupt(command, results, signal.SIGKILL, STARTING_SECONDS)
    assert stopped.returncode == -signal.SIGKILL
    done = sizes(results)
    wait_for(has_no_runners(two_nodes))
    again = memprof(*command)
    assert again.returncode == ExitCode.OK, again.stderr
    assert f": {len(done)} of 6 points are saved" in again.stderr
    assert [row["batch_size"] for row in json.loads(again.stdout)["rows"]] == [1, 2, 3, 4, 5, 6]
    assert sizes(results) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ray_sweep_interrupted_leaves_no_runners(
    two_nodes: LocalCluster, tmp_path: Path, number: signal.Signals
) -> None:
    config, results = write_slow_config(tmp_path, "1, 2, 3, 4, 5, 6"), tmp_path / "results"
    stopped = interrupt(
        ["sweep", str(config), *on_ray(two_nodes, "--output-dir", str(results))], results, number, STARTING_SECONDS
    )
    assert stopped.returncode == 128 + number
    said = f"{len(sizes(results))} of 6 points are saved in "
    assert said in stopped.stderr.splitlines()[-1]
    assert "Traceback" not in stopped.stderr
    wait_for(has_no_runners(two_nodes))


def test_ray_runner_of_another_version_is_refused(memprof: Memprof, ray_cluster: LocalCluster, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "other" / "memprof", ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "other" / "memprof" / "_version.py"
    version.write_text(version.read_text().replace('"0.1.0', '"0.0.9'))
    ray_cluster.use({"old": {"env_vars": {"PYTHONPATH": str(tmp_path / "other")}}})
    refused = memprof("sweep", "configs/mnist_mlp.yaml", *on_ray(ray_cluster, "--output-dir", str(tmp_path)))
    line = one_line(refused, ExitCode.DEVICE)
    assert line.startswith(f"memprof: {socket.gethostname()} has memprof 0.0.9")
    assert "and this machine has 0.1.0" in line
    wait_for(has_no_runners(ray_cluster))


def test_ray_runner_that_dies_at_start_is_one_line(memprof: Memprof, ray_cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "broken" / "memprof").mkdir(parents=True)
    (tmp_path / "broken" / "memprof" / "__init__.py").write_text("import os\nos._exit(7)\n")
    ray_cluster.use({"broken": {"env_vars": {"PYTHONPATH": str(tmp_path / "broken")}}})
    refused = memprof("sweep", "configs/mnist_mlp.yaml", *on_ray(ray_cluster, "--output-dir", str(tmp_path)))
    assert one_line(refused, ExitCode.DEVICE).startswith("memprof: no runner can start: ")
    assert not (tmp_path / "mnist_mlp").exists()


def test_ray_runner_without_memprof_names_it(memprof: Memprof, ray_cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "none" / "memprof").mkdir(parents=True)
    missing = "No module named 'memprof.engines'"
    (tmp_path / "none" / "memprof" / "__init__.py").write_text("")
    ray_cluster.use({"none": {"env_vars": {"PYTHONPATH": str(tmp_path / "none")}}})
    refused = memprof("sweep", "configs/mnist_mlp.yaml", *on_ray(ray_cluster, "--output-dir", str(tmp_path)))
    assert missing in one_line(refused, ExitCode.DEVICE)


def test_ray_node_that_lies_about_its_gpu_is_refused(
    memprof: Memprof, ray_cluster: LocalCluster, tmp_path: Path
) -> None:
    ray_cluster.use({"liar": {"num_gpus": 1, "resources": {"accelerator_type:T4": 1}}})
    options = ["--gpu", "t4", "--require", "measured", "--engine", "ray", "--address", ray_cluster.address]
    refused = memprof("sweep", "configs/mnist_mlp.yaml", *options, "--output-dir", str(tmp_path))
    assert refused.returncode == ExitCode.DEVICE
    assert refused.stderr.splitlines()[-1] == (
        f"memprof: {socket.gethostname()}: NVML finds no GPU, and a Tesla T4 is needed"
    )


def test_ray_cluster_without_room_is_one_line(memprof: Memprof, ray_cluster: LocalCluster, tmp_path: Path) -> None:
    ray_cluster.use({"tiny": {"memory": 1 << 30}})
    refused = memprof("sweep", "configs/mnist_mlp.yaml", *on_ray(ray_cluster, "--output-dir", str(tmp_path)))
    assert one_line(refused, ExitCode.DEVICE) == (
        "memprof: no machine of the Ray cluster has room for a runner: it needs 1 CPU and 2.00 GiB of memory"
    )


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something listens that is no Ray cluster: it accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server: socket.socket) -> None:
    kept = []
    try:
        while True:
            kept.append(server.accept())
    except OSError:
        for connected, _ in kept:
            connected.close()


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("here", ExitCode.CONFIG, "--address here: expected auto or HOST:PORT"),
        ("127.0.0.1:99999", ExitCode.CONFIG, "expected auto or HOST:PORT"),
        ("127.0.0.1:9", ExitCode.DEVICE, "--address 127.0.0.1:9: nothing answers there: Connection refused"),
    ],
)
def test_ray_wrong_address_is_one_line(
    call: Memprof, phantom_device_h100: Device, tmp_path: Path, address: str, status: ExitCode, said: str
) -> None:
    options = ["--gpu", phantom_device_h100.name, "--engine", "ray", "--address", address]
    refused = call("sweep", "configs/mnist_mlp.yaml", *options, "--output-dir", str(tmp_path / "results"))
    assert said in one_line(refused, status)
    assert not (tmp_path / "results").exists()


def test_ray_address_of_another_service_is_one_line(
    call: Memprof, phantom_device_h100: Device, tmp_path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CONNECTING_SECONDS", 5.0)
    options = ["--gpu", phantom_device_h100.name, "--engine", "ray", "--address", f"127.0.0.1:{silent_port}"]
    refused = call("sweep", "configs/mnist_mlp.yaml", *options, "--output-dir", str(tmp_path))
    assert "no Ray cluster answered within 5 s" in one_line(refused, ExitCode.DEVICE)


def test_ray_missing_is_one_line(
    call: Memprof, phantom_device_h100: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    options = ["--gpu", phantom_device_h100.name, "--engine", "ray", "--output-dir", str(tmp_path)]
    line = one_line(call("sweep", "configs/mnist_mlp.yaml", *options), ExitCode.CONFIG)
    assert line == "memprof: --engine ray needs the package ray; run: pip install 'memprof-gpu[ray]'"


def test_local_sweep_imports_no_cluster_package(phantom_device_h100: Device, tmp_path: Path) -> None:
    command = ["sweep", "configs/mnist_mlp.yaml", "--batch-size", "1", "--gpu", phantom_device_h100.name]
    source = (
        "import sys; from memprof import cli\n"
        f"assert cli._run({[*command, '--output-dir', str(tmp_path)]!r}) == 0\n"
        "print([name for name in ('ray', 'submitit', 'torch') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def saved(results: Path) -> list[str]:
    return [line for file in results.glob("*/*/records.jsonl") for line in file.read_text().splitlines()]


class started:  # noqa: N801  used as a function
    """Run memprof in the background; it is killed with the block."""

    def __init__(self, arguments: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "memprof", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT / "profiler")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
