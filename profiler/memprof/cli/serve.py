"""`memprof serve`: keep PyTorch imported in the background, so that later commands answer sooner."""

from __future__ import annotations

import time
from dataclasses import asdict

from memprof.cli import options
from memprof.cli.console import print_json, print_line, progress_bar
from memprof.errors import ConfigError, DeviceError, ExitCode
from memprof.gpus.select import choose_device
from memprof.worker.fork_client import (
    ForkServerStatus,
    fork_server_socket,
    fork_server_status,
    running_fork_servers,
    start_fork_server,
    stop_fork_server,
)
from memprof.worker.variables import server_variables

EXAMPLES = """\
memprof serve
memprof serve --idle-minutes 60
memprof serve --status
memprof serve --stop"""
_MOST_MINUTES = 24 * 60


def command(
    gpu: options.GpuName = None,
    idle_minutes: options.IdleMinutes = 15.0,
    status: options.ServerStatus = False,
    stop: options.StopServer = False,
    json: options.Json = False,
) -> int:
    """Start, show or end the process."""
    if stop and status:
        raise ConfigError("--stop and --status exclude each other")
    if not 0 < idle_minutes <= _MOST_MINUTES:
        raise ConfigError(f"--idle-minutes is more than 0 and at most {_MOST_MINUTES}, not {idle_minutes:g}")
    if stop:
        return _stop(json)
    return _show(json) if status else _start(gpu or "auto", 60 * idle_minutes, json)


def _start(gpu: str, idle_seconds: float, json: bool) -> ExitCode:
    variables = server_variables(choose_device(gpu), allocator=None)
    path = fork_server_socket(variables)
    if path is None:
        raise DeviceError(
            "the path of the folder for the socket is too long, or the folder is unavailable; "
            "set XDG_RUNTIME_DIR to a folder of your own with a short path"
        )
    if fork_server_status(path) is None:
        with progress_bar("importing PyTorch", total=None):
            error = start_fork_server(path, variables, idle_seconds)
        if error is not None:
            raise DeviceError(f"PyTorch cannot be imported: {error}")
    return _show(json)


def _show(json: bool) -> ExitCode:
    found = [status for path in running_fork_servers() if (status := fork_server_status(path))]
    if json:
        print_json({"processes": [asdict(status) for status in found]})
        return ExitCode.OK
    for status in found:
        print_line(_line(status))
    if found:
        print_line("Later commands use it. `memprof serve --stop` ends it.")
    else:
        print_line("No process keeps PyTorch imported. `memprof serve` starts one.")
    return ExitCode.OK


def _line(status: ForkServerStatus) -> str:
    left = time.strftime("%H:%M:%S", time.gmtime(max(0.0, status.limit_seconds - status.idle_seconds)))
    use = f"{status.running} of its workers run" if status.running else f"it ends in {left} if no command uses it"
    return f"Process {status.pid} keeps PyTorch {status.torch} imported; {use}."


def _stop(json: bool) -> ExitCode:
    ended = sum(stop_fork_server(path) for path in running_fork_servers())
    if json:
        print_json({"ended": ended})
    else:
        print_line(f"Ended {ended} process{'' if ended == 1 else 'es'}." if ended else "No process was running.")
    return ExitCode.OK
