"""The commands and their options. What each one does is in the module it calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="memprof",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="How much GPU memory training a PyTorch model takes, why, and how far it can go. Without a GPU too: "
    "a phantom GPU emulates one of the catalog.",
    epilog="Exit status: 0 done (an out-of-memory row is a result), 1 a defect of memprof, 2 command line or "
    "config, 3 the model cannot be built or run, 4 the GPU cannot be had, 5 results cannot be written or "
    "read, 6 some rows failed, 130 interrupted.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
OutputDir = Annotated[Path, typer.Option("--output-dir", help="Where results are kept.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from profiler import __version__

        typer.echo(f"memprof {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A config file, for example configs/mnist_mlp.yaml.")],
    gpu: Annotated[
        Optional[str], typer.Option(help="auto, cuda:N, or a name that `memprof gpus` lists.")  # noqa: UP045
    ] = None,
    batch_size: Annotated[
        Optional[list[str]], typer.Option(help="Instead of the configured ones; repeatable.")  # noqa: UP045
    ] = None,
    optimizer: Annotated[
        Optional[list[str]], typer.Option(help="One of the configured, or any other; repeatable.")  # noqa: UP045
    ] = None,
    set_: Annotated[
        Optional[list[str]], typer.Option("--set", help="Any config key, as key=value; repeatable.")  # noqa: UP045
    ] = None,
    output_dir: OutputDir = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Start afresh where an earlier sweep was stopped.")] = False,
    json: Json = False,
) -> int:
    """Measure each optimizer at each batch size, beside the analytic breakdown."""
    from profiler.cli import sweep as command

    overrides = command.overrides(gpu, batch_size or [], optimizer or [], set_ or [])
    return command.run(config, overrides, command.Output(folder=output_dir, force=force, json=json))


@app.command()
def show(
    result: Annotated[str, typer.Argument(help="A results folder, a file in it, or a config's name.")],
    output_dir: OutputDir = Path("results"),
    json: Json = False,
) -> int:
    """Show a saved sweep again."""
    from profiler.cli import show as command

    return command.run(result, output_dir, json)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def run(
    command: Annotated[list[str], typer.Argument(help="The command, behind `--`.")],
    gpu: Annotated[str, typer.Option(help="A GPU of the catalog; NAME:8 for eight of it.")] = "h100-80gb",
) -> int:
    """Run any command on a phantom GPU, then say the peak of device memory."""
    from profiler.cli import run as implementation

    return implementation.run(gpu, command)


@app.command()
def gpus(json: Json = False) -> int:
    """List the GPUs of this machine and those that a phantom can play."""
    from profiler.cli import gpus as command

    return command.run(json)


@app.command()
def doctor(json: Json = False) -> int:
    """Check what memprof needs: GPU, driver, PyTorch, CUDA, cuDNN, compiler, phantom."""
    from profiler.cli import doctor as command

    return command.run(json)


@app.command()
def schema() -> int:
    """Print the JSON Schema of config files, for editors."""
    import json

    from profiler.config_file import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
    return 0
