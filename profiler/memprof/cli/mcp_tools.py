"""The tools of `memprof mcp`. Each runs a command of memprof in a process of its own and returns what it prints."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL
from typing import Annotated, Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from memprof._version import __version__
from memprof.errors import ExitCode

_INSTRUCTIONS = (
    "memprof runs one training step of a PyTorch model on a simulated GPU and reports its GPU memory. No GPU is "
    "needed. Figures are called emulated (simulated GPU), measured (real GPU) or analytic (estimate from shapes); say "
    "which when you quote one. Paths are relative to the folder in which the server was started."
)
_WIDTH = 110  # cells
# The commands print an answer with these.
_ANSWERED = (ExitCode.OK, ExitCode.FAILED_ROWS, ExitCode.DOES_NOT_FIT)

Model = Annotated[
    str,
    Field(
        description="A YAML config, or a model: torchvision:NAME, timm:NAME, transformers:CLASS, or FILE.py:FUNCTION "
        "for a function without arguments that returns a torch.nn.Module."
    ),
]
Gpu = Annotated[str, Field(description="A GPU such as t4, rtx-4090, a100-80gb, h100-80gb, or a size such as 24GiB.")]
BatchSize = Annotated[int, Field(ge=1, description="Samples in one step.")]
Options = Annotated[
    dict[str, str | int | list[str]],
    Field(
        default_factory=dict,
        description="Further options of the command, without the dashes: input (3x224x224), classes, seq-len, loss, "
        "precision (fp32, bf16, amp-bf16, ...), optimizer (sgd, adamw, ...), and set (a list of KEY=VALUE for config "
        "keys, for example activation_checkpointing=1).",
    ),
]
_OPTIONS = ("input", "target", "classes", "seq-len", "loss", "precision", "optimizer", "set")


async def fits(model: Model, gpu: Gpu, batch_size: BatchSize, options: Options) -> str:
    """Say whether a batch size trains on a GPU, and how much memory it takes."""
    chosen = _given({"gpu": gpu, "batch-size": batch_size}, options)
    return await _answer("sweep", model, chosen)


async def max_batch(model: Model, gpu: Gpu, options: Options) -> str:
    """Find the largest batch size that trains on a GPU; both sides of the limit are run."""
    return await _answer("max-batch", model, _given({"gpu": gpu}, options))


async def explain(model: Model, gpu: Gpu, batch_size: BatchSize, options: Options) -> str:
    """Show what the peak of GPU memory consists of, by category, module and largest block, and what would lower it."""
    return await _answer("explain", model, _given({"gpu": gpu, "batch-size": batch_size}, options))


async def compare(
    model: Model,
    gpu: Gpu,
    batch_size: BatchSize,
    vary: Annotated[
        dict[str, list[str]],
        Field(description="Config keys and their values, for example {'optimizer': ['sgd', 'adamw']}."),
    ],
    options: Options,
) -> str:
    """Show how settings change the GPU memory of one batch size."""
    varied = [f"{key}={','.join(values)}" for key, values in vary.items()]
    return await _answer(
        "compare", model, [*_given({"gpu": gpu, "batch-size": batch_size}, options), *_each("vary", varied)]
    )


def make_server() -> MCPServer[Any]:
    """Return the server with all tools."""
    server: MCPServer[Any] = MCPServer("memprof", instructions=_INSTRUCTIONS, version=__version__)
    for tool in (fits, max_batch, explain, compare):
        server.add_tool(tool, structured_output=False)
    return server


def _given(chosen: Mapping[str, str | int], options: Mapping[str, str | int | Sequence[str]]) -> list[str]:
    """Return the options of a command line; a value is never read as an option.

    Raises:
        ToolError: there is no such option.
    """
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise ToolError(f"options: there is no {unknown[0]!r}; write one of {', '.join(_OPTIONS)}")
    given = [f"--{name}={value}" for name, value in chosen.items()]
    for name, value in options.items():
        given += _each(name, [str(value)] if isinstance(value, str | int) else value)
    return given


def _each(name: str, values: Sequence[str]) -> list[str]:
    return [f"--{name}={value}" for value in values]


async def _answer(command: str, model: str, options: Sequence[str]) -> str:
    """Return what a command prints; its results go to a folder that is removed afterwards.

    Raises:
        ToolError: the command has refused the input, or failed; with its one line.
    """
    environment = {**os.environ, "COLUMNS": str(_WIDTH), "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory(prefix="memprof-mcp-") as folder:
        line = [sys.executable, "-m", "memprof", command, *options, f"--output-dir={folder}", "--", model]
        finished = await anyio.run_process(line, env=environment, stdin=DEVNULL, check=False)
        printed, said = finished.stdout.decode(errors="replace"), finished.stderr.decode(errors="replace")
    if finished.returncode not in _ANSWERED:
        raise ToolError(said.strip() or f"memprof {command} ended with status {finished.returncode}")
    lines = [text.rstrip() for text in printed.splitlines() if folder not in text]
    return "\n".join(lines).strip()
