"""`python -m memprof.worker --fd N PARENT`: the worker server on the socket N, for the process PARENT."""

from __future__ import annotations

import os
import socket
import sys

from memprof.worker.exit_status import die_with
from memprof.worker.protocol import SETUP, RequestError, Setup, encode, setup_decoder


def main(arguments: list[str]) -> None:
    """Serve until the parent closes the socket, then end at once, without torch's slow tear-down."""
    descriptor, parent = int(arguments[1]), int(arguments[2])
    die_with(parent)
    os.dup2(2, 1)  # what models print must not mix with the parent's own output
    with socket.socket(fileno=descriptor) as connection:
        connection.set_inheritable(False)
        with connection.makefile("rb", buffering=0) as stream:
            line = stream.readline()
        if line:
            _serve(connection, setup_decoder()(line))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _serve(connection: socket.socket, setup: Setup) -> None:
    try:
        from memprof.worker.server import Server  # torch: seconds, and perhaps broken
    except (ImportError, OSError) as error:
        text = f"PyTorch cannot be imported: {error}"
        connection.sendall(encode(RequestError(number=SETUP, kind="device", text=text)))
        return
    Server(connection, setup).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
