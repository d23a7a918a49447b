"""`python -m memprof.worker --fd N PARENT`: the worker server on the socket N, for the process PARENT."""

from __future__ import annotations

import signal
import sys

from memprof.worker.death_signal import die_with
from memprof.worker.serve import serve_connection


def main(arguments: list[str]) -> None:
    """Serve the socket, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends this process without a traceback; Ctrl-C goes to the parent
    descriptor, parent = int(arguments[1]), int(arguments[2])
    die_with(parent)
    serve_connection(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
