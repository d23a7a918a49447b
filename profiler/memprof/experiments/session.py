"""One running engine, opened for a command: the config and device it works for, and the environment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.engines.choose import open_engine
from memprof.engines.local import LocalEngine
from memprof.engines.options import EngineKind, EngineOptions
from memprof.engines.protocol import Engine
from memprof.errors import ConfigError, DeviceError
from memprof.gpus.select import Device, choose_device
from memprof.records import Environment, Source
from memprof.worker.client import OnStep, WorkerClient

_GIT_SECONDS = 10  # a repository on a slow network drive must not hold up a measurement


@dataclass(frozen=True, kw_only=True)
class Session:
    """An engine that is ready, and the environment that its records carry."""

    engine: Engine
    loaded: LoadedConfig
    device: Device
    environment: Environment

    def device_of(self, config: SweepConfig) -> Device:
        """Return the device that `config` names; ``auto`` is the session's own.

        Raises:
            DeviceError: the GPU is unavailable.
            ConfigError: one GPU is real and the other a phantom.
        """
        own = ("auto", self.loaded.config.gpu, self.device.choice)
        if self.device.source is Source.ANALYTIC or config.gpu in own:
            return self.device
        device = choose_device(config.gpu)
        if device.source is not self.device.source:
            sources = f"{self.device.name} is {self.device.source.value} and {device.name} {device.source.value}"
            raise ConfigError(f"gpu={config.gpu}: {sources}; compare real GPUs with real ones, phantoms with phantoms")
        return device

    def environment_of(self, config: SweepConfig) -> Environment:
        """Return the environment of the records of `config`: its GPU, and its allocator settings."""
        environment, device = self.environment, self.device_of(config)
        if config.allocator != self.loaded.config.allocator:
            environment = replace(environment, allocator_settings=config.allocator)
        if device != self.device:
            environment = replace(environment, gpu=device.name, gpu_total_bytes=device.total_bytes)
        return environment


@dataclass(frozen=True, kw_only=True)
class LocalSession(Session):
    """A session with a worker on this machine, which answers all kinds of requests."""

    client: WorkerClient


@contextmanager
def open_session(loaded: LoadedConfig, device: Device, on_step: OnStep | None = None) -> Iterator[LocalSession]:
    """Start a worker for `loaded` on `device`, and end it with the block. `on_step` goes to the worker's client.

    The environment is asked for once; it includes the git commit of the config's folder.

    Raises:
        ConfigError: PyTorch does not accept the allocator settings.
        DeviceError: PyTorch cannot be imported, or the device cannot be used.
        WorkloadError: the model cannot be built.
    """
    check_parallel_device(loaded, device)
    with WorkerClient(loaded, device, on_step) as client:
        environment = replace(client.environment(), git_commit=find_commit(loaded.folder))
        engine = LocalEngine(client, loaded, device, on_step)
        yield LocalSession(engine=engine, client=client, loaded=loaded, device=device, environment=environment)


@contextmanager
def open_engine_session(
    configs: Sequence[LoadedConfig],
    device: Device,
    options: EngineOptions,
    most: int,
    note: Callable[[str], None],
    on_step: OnStep | None = None,
) -> Iterator[Session]:
    """Start the engine that `options` choose for all of `configs`, and end it with the block.

    The session's own config is the first. At most `most` points are measured at a time. `note` prints one line.

    Raises:
        ConfigError, DeviceError, WorkloadError: as `open_session`, or the cluster cannot be used.
    """
    first = configs[0]
    for loaded in configs:
        check_parallel_device(loaded, device)
    if options.kind is EngineKind.LOCAL:
        with open_session(first, device, on_step) as session:
            yield session
        return
    with open_engine(configs, device, options, most, note) as engine:
        environment = replace(engine.environment(), git_commit=find_commit(first.folder))
        yield Session(engine=engine, loaded=first, device=device, environment=environment)


def check_parallel_device(loaded: LoadedConfig, device: Device) -> None:
    """Refuse a config of several ranks on a device where the other ranks would be missing.

    Raises:
        DeviceError: the device is not a phantom.
    """
    if loaded.config.parallel is not None and device.source is not Source.EMULATED:
        raise DeviceError(
            f"parallel: {loaded.config.parallel.label}: one rank of many runs on a simulated GPU alone, since the "
            f"other ranks are absent; name one with --gpu, for example --gpu h100-80gb ({device.explanation})"
        )


def find_commit(folder: Path) -> str | None:
    """Return the git commit of `folder`; ``None`` if there is no repository, no commit or no git."""
    command = ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
