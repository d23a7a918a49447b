"""The relay of what models print."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from memprof.worker.output import OutputRelay


def relay(text: bytes, limit_bytes: int) -> None:
    """Print `text` through a relay, as a model would."""
    output = OutputRelay(limit_bytes)
    model = os.dup(output.write_end)
    output.start()
    for start in range(0, len(text), 1000):
        os.write(model, text[start : start + 1000])
    os.close(model)
    output.wait(10)


@pytest.mark.parametrize("size", [0, 1, 2999, 3000])
def test_output_up_to_the_limit_is_copied(size: int, capfd: pytest.CaptureFixture[str]) -> None:
    relay(b"x" * size, 3000)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "x" * size)


@pytest.mark.parametrize("size", [3001, 500_000])
def test_output_over_the_limit_is_cut_with_a_note(size: int, capfd: pytest.CaptureFixture[str]) -> None:
    relay(b"x" * size, 3000)
    note = "\nmemprof: the model printed more than 2.93 KiB; the rest is not shown\n"
    assert capfd.readouterr().err == "x" * 3000 + note


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_output_that_stderr_refuses_is_dropped(redirection: str) -> None:
    code = "from tests.worker.test_output import relay; relay(b'x' * 500_000, 3000); print('done')"
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout == "done\n"
