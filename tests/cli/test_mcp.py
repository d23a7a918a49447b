"""The tools of `memprof mcp`, called by the client of the package mcp; the extra is `mcp`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.paths import PACKAGE

needs_mcp = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="not installed: mcp; pip install -e '.[mcp]'"
)
MODEL = """
import torch
def build():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
"""


def with_client(folder: Path, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Start the server in `folder`, and return what `use` makes of its client."""
    import anyio
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async def run() -> Any:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])}
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "memprof", "mcp"], env=environment, cwd=str(folder)
        )
        async with Client(stdio_client(server)) as client:
            return await use(client)

    return anyio.run(run)


@needs_mcp
@pytest.mark.usefixtures("phantom_device_h100")
def test_client_lists_and_calls_the_tools(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    own = {"model": "net.py:build", "gpu": "t4", "options": {"input": "3x8x8", "classes": 10, "optimizer": "adam"}}

    async def use(client: Any) -> tuple[set[str], list[Any]]:
        names = {tool.name for tool in (await client.list_tools()).tools}
        calls = [
            ("fits", {**own, "batch_size": 32}),
            ("fits", {**own, "model": "net.py:bild", "batch_size": 32}),
            ("fits", {**own, "gpu": "--json", "batch_size": 32}),
            ("max_batch", {**own, "options": {"inputs": "3x8x8"}}),
        ]
        return names, [await client.call_tool(name, arguments) for name, arguments in calls]

    names, (fits, wrong_name, wrong_gpu, wrong_option) = with_client(tmp_path, use)
    assert names == {"fits", "max_batch", "explain", "compare"}
    assert not fits.is_error
    assert "emulated" in fits.content[0].text
    assert "adam" in fits.content[0].text
    assert [result.is_error for result in (wrong_name, wrong_gpu, wrong_option)] == [True, True, True]
    assert "did you mean build?" in wrong_name.content[0].text
    assert "there is no GPU '--json'" in wrong_gpu.content[0].text
    assert "options: there is no 'inputs'; write one of input, target" in wrong_option.content[0].text
    assert {path.name for path in tmp_path.iterdir()} <= {"net.py", "__pycache__"}


@pytest.mark.skipif(importlib.util.find_spec("mcp") is not None, reason="mcp is installed")
def test_mcp_without_its_package_says_how_to_install_it() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "memprof", "mcp"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr == "memprof: mcp: needs the package mcp; run: pip install mcp\n"
