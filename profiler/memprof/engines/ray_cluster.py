"""The connection to a Ray cluster, and how many runners fit on it. Nothing here starts a cluster."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from memprof.errors import ConfigError, DeviceError, one_line
from memprof.gpus.select import Device
from memprof.records import Source
from memprof.units import GIB, format_bytes

# A worker server with torch takes 0.6 GiB and a child that trains a small model 0.3 GiB more; the models of one config
# stay in the server. 8B parameters with FSDP2 on 8 ranks take 1.5 GiB.
RUNNER_MEMORY_BYTES = 2 * GIB
_CONNECTING_SECONDS = 30.0  # a cluster that answers does so within two; Ray itself waits for two minutes
_REACHING_SECONDS = 5.0
_ADDRESS = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_PROBE = """
import logging, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
"""
# An actor without GPUs keeps the CUDA_VISIBLE_DEVICES of its node, and Ray does not warn that it will change this.
_VARIABLES = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What one runner takes of a node, as options of a Ray actor."""

    options: Mapping[str, Any]
    text: str  # for error messages

    def count_on(self, resources: Mapping[str, float]) -> int:
        """Return how many runners fit on a node with these resources."""
        wanted = {"CPU": self.options["num_cpus"], "memory": self.options["memory"], "GPU": self.options["num_gpus"]}
        if (kind := self.options.get("accelerator_type")) is not None and f"accelerator_type:{kind}" not in resources:
            return 0
        return int(min(resources.get(name, 0.0) // count for name, count in wanted.items() if count))


def slot_of(device: Device) -> Slot:
    """Return what a runner on `device` takes: a CPU and memory, and a real GPU of that type."""
    options: dict[str, Any] = {"num_cpus": 1, "memory": RUNNER_MEMORY_BYTES, "num_gpus": 0}
    text = f"1 CPU and {format_bytes(RUNNER_MEMORY_BYTES)} of memory"
    if device.source is not Source.MEASURED:
        return Slot(options=options, text=text)
    options["num_gpus"] = 1
    if (kind := _accelerator_type(device.name)) is not None:
        options["accelerator_type"] = kind
    return Slot(options=options, text=f"a GPU of type {kind or device.name}, {text}")


def _accelerator_type(name: str) -> str | None:
    """Return Ray's word for a GPU, for example ``H100``; ``None`` if this version of Ray has none."""
    try:
        from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager as Manager
    except ImportError:
        return None
    found: str | None = Manager._gpu_name_to_accelerator_type(name)  # type: ignore[no-untyped-call]
    return found


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster at `address`, ``auto`` or HOST:PORT.

    Raises:
        ConfigError: the package is missing, or the address has another form.
        DeviceError: no cluster answers there, or it has another version of Ray or Python.
    """
    if find_spec("ray") is None:
        raise ConfigError("--engine ray needs the package ray; run: pip install 'memprof-gpu[ray]'")
    _check_address(address)
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    _probe(address)
    import logging

    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _silence(ray)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        for number, handler in handlers.items():  # Ray replaces that of SIGTERM by one that ends the process
            signal.signal(number, handler)
        yield ray
    finally:
        ray.shutdown()


def _silence(ray: Any) -> None:
    """Keep the cluster's messages off stdout, where results go; Ray prints them whatever `log_to_driver` says."""
    worker: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def _check_address(address: str) -> None:
    if address == "auto":
        return
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise ConfigError(f"--address {one_line(address, 100)}: expected auto or HOST:PORT, for example 10.0.0.5:6379")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), _REACHING_SECONDS).close()
    except OSError as error:
        raise DeviceError(f"--address {address}: nothing answers there: {error.strerror or error}") from error


def _probe(address: str) -> None:
    """Connect once in another process: one that finds no cluster hangs for two minutes, and is then ended by Ray."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            capture_output=True,
            text=True,
            timeout=_CONNECTING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"--address {address}: no Ray cluster answered within {_CONNECTING_SECONDS:g} s; is it the address that "
            "`ray status` uses on the head node?"
        ) from None
    if ended.returncode == 0:
        return
    reason = last_line(ended.stderr)
    if "Could not find any running Ray instance" in ended.stderr:
        reason = "no Ray cluster runs on this machine; start one with `ray start --head`, or name one with --address"
    raise DeviceError(f"--address {address}: {one_line(reason)}")


def reason_of(error: Exception) -> str:
    """Return one line that says why an actor ended: what it raised, or what Ray knows."""
    text = str(error)
    known = re.search(r"The actor (?:is dead|died) because (its [^.]+)\.", text)
    return one_line(known[1] if known else last_line(text))


def last_line(text: str) -> str:
    """Return the line of a traceback that says what was raised, and what follows it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [place for place, line in enumerate(lines) if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
    return " ".join(lines[raised[-1] :] if raised else lines[-1:]) or "no reason given"
