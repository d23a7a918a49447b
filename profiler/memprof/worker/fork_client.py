"""How a command gets a worker server from a fork server that is already running. No torch here.

The socket's name is a hash of everything that PyTorch may read while it is imported: the interpreter, the installed
versions and the environment. A command with another environment finds no socket of that name and starts its worker
server as usual, so a fork server never changes a figure.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memprof.gpus.phantom.ledger import ledger_folder
from memprof.worker.leftovers import MARK

# Variables that neither PyTorch nor Python reads during the import. The phantom reads its own at the first CUDA call of
# a process; the others are about terminals, shells and sessions, and the mark of a worker server.
_READ_LATER = frozenset(
    {
        *("MEMPROF_PHANTOM", "MEMPROF_PHANTOM_LEDGER", "MEMPROF_PHANTOM_ADDRESSES", "MEMPROF_CONFIG_DIR"),
        *("COLUMNS", "LINES", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR"),
        *("TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TERM_SESSION_ID", "WINDOWID", "VTE_VERSION", "LS_COLORS"),
        *("TMUX", "TMUX_PANE", "STY", "WINDOW", "XDG_SESSION_ID", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "XAUTHORITY"),
        *(
            "SSH_CLIENT",
            "SSH_CONNECTION",
            "SSH_TTY",
            "SSH_AUTH_SOCK",
            "HISTFILE",
            "HISTSIZE",
            "PS1",
            "MAIL",
            "INVOCATION_ID",
        ),
        *("PWD", "OLDPWD", "SHLVL", "_", "MEMPROF_TRACEBACK", "MEMPROF_FORK_SERVER", MARK),
        *("PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID"),
    }
)
_LIMITS = (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)
_LONGEST_PATH = 100  # unix(7): 108 bytes; the server first binds a path with its process id instead of the suffix
_STARTING_SECONDS = 60.0
IDLE_SECONDS = 15 * 60.0

# Lines that are no `StartRequest`: they ask a fork server to end, and what it is doing.
STOP, STATUS = "stop", "status"


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """The properties that a worker server takes from its command."""

    environment: dict[str, str]
    folder: str
    umask: int


@dataclass(frozen=True, kw_only=True)
class ForkServerStatus:
    """What a fork server is doing."""

    pid: int
    torch: str  # the version that it has imported
    served: int  # worker servers that it has started
    running: int  # those that have not ended
    idle_seconds: float  # since the last command ended
    limit_seconds: float  # it ends after this idle time


class JsonLines:
    """JSON objects over a stream socket, one per line."""

    def __init__(self, connection: socket.socket, data: bytes = b"") -> None:
        self._connection, self._data = connection, data

    def receive(self, timeout: float | None) -> Any:
        """Return the next object.

        Raises:
            OSError: the other side has ended, or sent nothing for `timeout` seconds.
            ValueError: the line is not JSON.
        """
        self._connection.settimeout(timeout)
        while b"\n" not in self._data:
            more = self._connection.recv(1 << 16)
            if not more:
                raise ConnectionResetError
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        return json.loads(line)

    def send(self, message: object) -> None:
        """Send one object. If the other side has ended, the next `receive` raises the error."""
        with suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class ForkedProcess:
    """A worker server that a fork server started. It has the methods of `subprocess.Popen` that memprof uses."""

    def __init__(self, control: JsonLines, pid: int) -> None:
        self._control, self.pid = control, pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, or ``None`` while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended; if the fork server has ended too, that of SIGKILL.

        Raises:
            subprocess.TimeoutExpired: the process still runs after `timeout` seconds.
        """
        if self._status is None:
            try:
                self._status = int(self._control.receive(timeout)["exit"])
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("memprof.worker", timeout or 0) from None
            except (OSError, ValueError, KeyError):
                self._status = -signal.SIGKILL
            self._control.close()
        return self._status

    def kill(self) -> None:
        """Kill the process."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def fingerprint(environment: Mapping[str, str]) -> str:
    """Return a hash of the interpreter, the installed versions, the limits and the variables that torch may read."""
    read = {name: value for name, value in environment.items() if name not in _READ_LATER}
    limits = [resource.getrlimit(number) for number in _LIMITS]
    parts = [sys.executable, sys.version, limits, _installed(), sorted(read.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _installed() -> list[tuple[str, int]]:
    """Return torch's and torchvision's folders and memprof's files with the times of their last change."""
    found: list[tuple[str, int]] = []
    for name in ("torch", "torchvision"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            version = Path(spec.origin).with_name("version.py")
            found.append((str(version), version.stat().st_mtime_ns if version.exists() else 0))
    package = Path(__file__).parents[1]
    found.append((str(package), max(path.stat().st_mtime_ns for path in package.rglob("*.py"))))
    return found


def fork_server_socket(environment: Mapping[str, str]) -> Path | None:
    """Return the socket of the fork server for this environment, whether or not one runs.

    ``None`` if there is no private folder for it, or if its path is longer than a socket's may be.
    """
    folder = ledger_folder()
    path = folder / f"worker-{fingerprint(environment)}.sock" if folder else None
    return path if path is not None and len(os.fsencode(path)) <= _LONGEST_PATH else None


def start_forked(path: Path, environment: Mapping[str, str], descriptor: int, output: int = 2) -> ForkedProcess | None:
    """Return a worker server that serves the socket `descriptor` and prints to `output`.

    ``None`` if no fork server answers at `path`.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0)
    os.umask(mask)
    request = StartRequest(environment=dict(environment), folder=os.getcwd(), umask=mask)
    line = json.dumps(asdict(request)).encode() + b"\n"
    try:
        if path.stat().st_uid != os.getuid():
            raise PermissionError
        connection.connect(str(path))
        sent = socket.send_fds(connection, [line], [descriptor, output])
        connection.sendall(line[sent:])
        control = JsonLines(connection)
        return ForkedProcess(control, int(control.receive(_STARTING_SECONDS)["pid"]))
    except (OSError, ValueError, KeyError, TypeError):  # TypeError: the reply is null, a refusal
        connection.close()
        return None


def start_fork_server(path: Path, environment: Mapping[str, str], idle_seconds: float = IDLE_SECONDS) -> str | None:
    """Start a fork server for `environment` in the background, and return when it answers at `path`.

    Without one, the worker server of each command imports torch itself. Then the last line that it printed is returned.
    """
    path.unlink(missing_ok=True)  # of a fork server that was killed
    command = [sys.executable, "-P", "-m", "memprof.worker.fork_server"]
    with tempfile.TemporaryFile() as printed:  # not a pipe: the fork server has it open as long as it runs
        subprocess.run(
            [*command, "--socket", str(path), "--idle-seconds", str(idle_seconds)],
            env={name: value for name, value in environment.items() if name != MARK},  # it is no worker server
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=printed,
            start_new_session=True,
            check=False,
        )
        if path.exists():
            return None
        printed.seek(0)
        lines = printed.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it ended")


def running_fork_servers() -> list[Path]:
    """Return the sockets of this user's fork servers, for all versions and environments."""
    folder = ledger_folder()
    return sorted(folder.glob("worker-*.sock")) if folder else []


def stop_fork_server(path: Path) -> bool:
    """Ask the fork server at `path` to end; return whether one answered. An unused socket is removed."""
    return bool(_ask(path, STOP) == STOP)


def fork_server_status(path: Path) -> ForkServerStatus | None:
    """Return what the fork server at `path` is doing; ``None`` if none answers. An unused socket is removed."""
    answer = _ask(path, STATUS)
    return ForkServerStatus(**answer) if isinstance(answer, dict) else None


def _ask(path: Path, line: str) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
            control = JsonLines(connection)
            control.send(line)
            return control.receive(_STARTING_SECONDS)
        except (OSError, ValueError):
            path.unlink(missing_ok=True)
            return None
