"""The store at which ranks meet, for one rank whose peers are absent: a server with the protocol of TCPStore.

`torch.distributed.TCPStore` sends one byte for the request, and then its arguments: numbers of 64 bits, and texts as
their length and bytes. Source: torch/csrc/distributed/c10d/TCPStoreBackend.hpp, PyTorch 2.9 to 2.14. No torch here.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from io import BufferedIOBase

_UNIQUE_ID_BYTES = 128  # NCCL_UNIQUE_ID_BYTES in nccl.h
_NUMBER, _SIGNED, _MAGIC = struct.Struct("=Q"), struct.Struct("=q"), struct.Struct("=I")
_READY, _STOP_WAITING, _WAIT_CANCELED = b"\0", b"\0", b"\1"
_MOST_BYTES = 1 << 30


class _Query(IntEnum):
    VALIDATE = 0
    SET = 1
    COMPARE_SET = 2
    GET = 3
    ADD = 4
    CHECK = 5
    WAIT = 6
    GETNUMKEYS = 7
    DELETE_KEY = 8
    APPEND = 9
    MULTI_GET = 10
    MULTI_SET = 11
    CANCEL_WAIT = 12
    PING = 13
    QUEUE_PUSH = 14
    QUEUE_POP = 15
    QUEUE_LEN = 16


@dataclass(frozen=True, kw_only=True)
class OneRank:
    """The rank of a script that runs, of how many."""

    rank: int
    world_size: int

    def environment(self, devices: int, port: int) -> Mapping[str, str]:
        """Return the variables that torchrun would set for this rank, on a machine with `devices` GPUs."""
        local = self.rank % devices
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(local),
            "LOCAL_WORLD_SIZE": str(min(devices, self.world_size)),
            "GROUP_RANK": str(self.rank // devices),
            "ROLE_RANK": str(self.rank),
            "ROLE_WORLD_SIZE": str(self.world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is there: rank 0 must not start one
            "TORCHELASTIC_RUN_ID": "memprof",
            "TORCHELASTIC_RESTART_COUNT": "0",
            "TORCHELASTIC_MAX_RESTARTS": "0",
            "TORCH_NCCL_ENABLE_MONITORING": "0",  # nobody waits for an absent peer
            "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
            "MEMPROF_PHANTOM_PEERS": "absent",
        }


@contextmanager
def absent_store() -> Iterator[int]:
    """Serve a store on this machine, and yield its port."""
    with _Server(("127.0.0.1", 0), _Client) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(address, handler)
        self.values: dict[bytes, bytes] = {}
        self.queues: defaultdict[bytes, deque[bytes]] = defaultdict(deque)
        self.lock = threading.Lock()


class _Client(socketserver.StreamRequestHandler):
    """Answers one connection: what this rank has set is there, and absent ranks have always arrived."""

    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while (kind := self.rfile.read(1)) != b"":
            try:
                with self.server.lock:
                    answer = self._answer(_Query(kind[0]))
            except (ValueError, EOFError):  # another protocol, or a process that has ended
                return
            if answer:
                self.connection.sendall(answer)

    def finish(self) -> None:
        try:
            super().finish()
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            return

    def _answer(self, query: _Query) -> bytes:
        values, stream = self.server.values, self.rfile
        match query:
            case _Query.VALIDATE:
                _read(stream, _MAGIC.size)
            case _Query.PING:
                return _read(stream, _MAGIC.size)
            case _Query.SET:
                key = _text(stream)
                values[key] = _text(stream)
            case _Query.COMPARE_SET:
                key, expected, desired = _text(stream), _text(stream), _text(stream)
                if values.get(key, b"") == expected:
                    values[key] = desired
                return _sized(values.get(key, expected))
            case _Query.GET:
                return _sized(self._value(_text(stream)))
            case _Query.ADD:
                key, amount = _text(stream), _SIGNED.unpack(_read(stream, _SIGNED.size))[0]
                total = int(values.get(key, b"0")) + amount
                values[key] = str(total).encode()
                return _SIGNED.pack(total)
            case _Query.CANCEL_WAIT:
                return _WAIT_CANCELED
            case _Query.GETNUMKEYS:
                return _SIGNED.pack(len(values))
            case _Query.DELETE_KEY:
                return _SIGNED.pack(values.pop(_text(stream), None) is not None)
            case _Query.APPEND:
                key = _text(stream)
                values[key] = values.get(key, b"") + _text(stream)
            case _Query.CHECK | _Query.WAIT | _Query.MULTI_GET | _Query.MULTI_SET:
                return self._answer_of_keys(query)
            case _:
                return self._answer_of_queue(query)
        return b""

    def _answer_of_keys(self, query: _Query) -> bytes:
        values, stream = self.server.values, self.rfile
        if query is _Query.MULTI_SET:
            for _ in range(_number(stream)):
                key = _text(stream)
                values[key] = _text(stream)
            return b""
        keys = list(_texts(stream))
        if query is _Query.MULTI_GET:
            return b"".join(_sized(self._value(key)) for key in keys)
        if query is _Query.WAIT:
            return _STOP_WAITING
        return _READY if all(key in values for key in keys) else b"\1"

    def _answer_of_queue(self, query: _Query) -> bytes:
        queue = self.server.queues[_text(self.rfile)]
        if query is _Query.QUEUE_PUSH:
            queue.append(_text(self.rfile))
            return b""
        if query is _Query.QUEUE_POP:
            return _sized(queue.popleft() if queue else b"")
        return _SIGNED.pack(len(queue))

    def _value(self, key: bytes) -> bytes:
        """Return the value of this rank; that of an absent one is an NCCL unique id without content."""
        return self.server.values.get(key, bytes(_UNIQUE_ID_BYTES))


def _read(stream: BufferedIOBase, size: int) -> bytes:
    """Return `size` bytes.

    Raises:
        EOFError: the connection was closed.
        ValueError: no valid message is that long.
    """
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes are too many")
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _number(stream: BufferedIOBase) -> int:
    number: int = _NUMBER.unpack(_read(stream, _NUMBER.size))[0]
    return number


def _text(stream: BufferedIOBase) -> bytes:
    return _read(stream, _number(stream))


def _texts(stream: BufferedIOBase) -> Iterator[bytes]:
    return (_text(stream) for _ in range(_number(stream)))


def _sized(value: bytes) -> bytes:
    return _NUMBER.pack(len(value)) + value
