"""One worker server on one socket, from its first line to the end of its process."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from memprof.worker.protocol import SETUP, RequestError, Setup, encode, setup_decoder


def serve_connection(descriptor: int) -> NoReturn:
    """Serve until the parent closes the socket, then end at once, without torch's slow tear-down."""
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
