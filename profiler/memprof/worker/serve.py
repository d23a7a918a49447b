"""One worker server on one socket, from its first line to the end of its process."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from memprof.worker.connection import Connection, ParentGoneError
from memprof.worker.leftovers import end_leftovers, mark_of
from memprof.worker.protocol import SETUP, RequestError, Setup, encode, setup_decoder


def serve_connection(descriptor: int) -> NoReturn:
    """Serve until the parent closes the socket or ends, then exit at once, without torch's slow tear-down.

    What this process and its children print goes to its stdout and stderr, which are the same pipe.
    """
    mark = mark_of(os.environ, output=1)  # before a model can change the variables
    with Connection(socket.socket(fileno=descriptor)) as connection, suppress(ParentGoneError):
        _serve(connection, _receive_setup(connection))
    end_leftovers(mark)
    _remove_generated_code()
    with suppress(OSError):  # nobody reads what was printed
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _remove_generated_code() -> None:
    """Remove the temporary folder that PyTorch 2.9 makes when it is imported, and removes in its tear-down."""
    folder = getattr(sys.modules.get("torch.distributed.nn.jit.instantiator"), "_TEMP_DIR", None)
    if folder is not None:
        folder.cleanup()


def _receive_setup(connection: Connection) -> Setup:
    lines: list[bytes] = []
    while not lines:
        lines = connection.receive()
    setup: Setup = setup_decoder()(lines[0])  # the parent sends nothing more before it has a reply
    return setup


def _serve(connection: Connection, setup: Setup) -> None:
    try:
        from memprof.worker.server import Server  # torch: seconds, and perhaps broken
    except (ImportError, OSError) as error:
        text = f"PyTorch cannot be imported: {error}"
        connection.send(encode(RequestError(number=SETUP, kind="device", text=text)))
        return
    Server(connection, setup).serve()
