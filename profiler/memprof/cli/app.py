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
    "read, 6 some rows failed, 7 nothing that was tried fits into the memory, 8 a check found growth, 130 interrupted.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
ConfigFile = Annotated[Path, typer.Argument(help="A config file, for example configs/mnist_mlp.yaml.")]
Gpu = Annotated[Optional[str], typer.Option(help="auto, cuda:N, or a name that `memprof gpus` lists.")]  # noqa: UP045
Set = Annotated[
    Optional[list[str]], typer.Option("--set", help="Any config key, as key=value; repeatable.")  # noqa: UP045
]
OutputDir = Annotated[Path, typer.Option("--output-dir", help="Where results are kept.")]
Result = Annotated[str, typer.Argument(help="A results folder, a file in it, or a config's name.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from memprof._version import __version__

        typer.echo(f"memprof {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def sweep(
    config: ConfigFile,
    gpu: Gpu = None,
    batch_size: Annotated[
        Optional[list[str]], typer.Option(help="Instead of the configured ones; repeatable.")  # noqa: UP045
    ] = None,
    optimizer: Annotated[
        Optional[list[str]], typer.Option(help="One of the configured, or any other; repeatable.")  # noqa: UP045
    ] = None,
    set_: Set = None,
    output_dir: OutputDir = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Start afresh where an earlier sweep was stopped.")] = False,
    json: Json = False,
) -> int:
    """Measure each optimizer at each batch size, beside the analytic breakdown."""
    from memprof.cli import sweep as command
    from memprof.cli.saving import Output

    overrides = command.overrides(gpu, batch_size or [], optimizer or [], set_ or [])
    return command.run(config, overrides, Output(folder=output_dir, force=force, json=json))


@app.command()
def summary(
    config: ConfigFile,
    batch_size: Annotated[
        Optional[int], typer.Option(help="By default the first that the config lists.")  # noqa: UP045
    ] = None,
    optimizer: Annotated[
        Optional[str], typer.Option(help="By default the first that the config lists.")  # noqa: UP045
    ] = None,
    depth: Annotated[
        Optional[int], typer.Option(help="0 is the model alone; by default 3, and with --json all.")  # noqa: UP045
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> int:
    """Show the model's modules: shapes, parameters, and the bytes that each keeps. Without a GPU of any kind."""
    from memprof.cli import summary as command
    from memprof.cli.sweep import overrides

    sizes = [] if batch_size is None else [str(batch_size)]
    chosen = overrides(None, sizes, [optimizer] if optimizer else [], set_ or [])
    return command.run(config, chosen, depth, json)


@app.command()
def show(
    result: Result,
    output_dir: OutputDir = Path("results"),
    json: Json = False,
) -> int:
    """Show a saved answer again: a sweep, a comparison, a largest batch."""
    from memprof.cli import show as command

    return command.run(result, output_dir, json)


@app.command()
def report(
    result: Result,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="The file to write: report.html, or with --markdown stdout."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown for a pull request instead.")] = False,
    output_dir: OutputDir = Path("results"),
) -> int:
    """Put what is saved about a config on one page: verdict, tables, charts, the peak taken apart."""
    from memprof.cli import report as command

    return command.run(result, output_dir, output, markdown)


@app.command()
def compare(
    config: ConfigFile,
    vary: Annotated[
        Optional[list[str]], typer.Option(help="A config key and its values, as key=a,b,c; repeatable.")  # noqa: UP045
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Every combination, not one knob at a time.")] = False,
    batch_size: Annotated[
        Optional[int], typer.Option(help="By default the first that the config lists.")  # noqa: UP045
    ] = None,
    gpu: Gpu = None,
    set_: Set = None,
    max_batch: Annotated[bool, typer.Option("--max-batch", help="Find each variant's largest batch too.")] = False,
    output_dir: OutputDir = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Start afresh where an earlier one was stopped.")] = False,
    json: Json = False,
) -> int:
    """Turn the config's knobs and say what each takes against the base: --vary optimizer=sgd,adam."""
    from memprof.cli import compare as command
    from memprof.cli.saving import Output
    from memprof.cli.sweep import overrides

    sizes = [] if batch_size is None else [str(batch_size)]
    wanted = command.CompareOptions(vary=vary or [], grid=grid, max_batch=max_batch)
    output = Output(folder=output_dir, force=force, json=json)
    return command.run(config, overrides(gpu, sizes, [], set_ or []), wanted, output)


@app.command()
def plot(
    result: Result,
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="batch, categories or timeline; by default the first that the result has."),
    ] = None,
    output: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--output", "-o", help="A .png or .svg file, or a folder; by default the result's own."),
    ] = None,
    format_: Annotated[
        Optional[str], typer.Option("--format", help="png, svg or both; by default png.")  # noqa: UP045
    ] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    terminal: Annotated[bool, typer.Option("--terminal", help="Draw it here, in letters, and write no file.")] = False,
    output_dir: OutputDir = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print the figures that would be drawn.")] = False,
) -> int:
    """Draw a saved sweep, comparison or explanation; an older picture of the same name is replaced."""
    from memprof.cli import plot as command

    wanted = command.PlotOptions(kind=kind, output=output, format=format_, theme=theme, terminal=terminal, json=json)
    return command.run(result, output_dir, wanted)


@app.command()
def diff(
    before: Result,
    after: Annotated[str, typer.Argument(help="The same; what is compared with it.")],
    output_dir: OutputDir = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Compare unlike ones too, such as two GPUs.")] = False,
    json: Json = False,
) -> int:
    """Compare two saved sweeps or comparisons row by row; unlike ones are refused."""
    from memprof.cli import diff as command

    return command.run(before, after, output_dir, force, json)


@app.command()
def check(
    result: Result,
    baseline: Annotated[str, typer.Option(help="The result that it is held against.")],
    max_increase: Annotated[str, typer.Option(help="How much a peak may grow: per cent or a size.")] = "2%",
    output_dir: OutputDir = Path("results"),
    json: Json = False,
) -> int:
    """Fail with status 8 where peaks of a saved sweep or comparison grew over a baseline's, in CI for instance."""
    from memprof.cli import check as command

    return command.run(result, baseline, max_increase, output_dir, json)


@app.command()
def explain(
    config: Annotated[Path, typer.Argument(help="A config file, or a snapshot of PyTorch's (.pickle).")],
    gpu: Gpu = None,
    batch_size: Annotated[
        Optional[int], typer.Option(help="By default the first that the config lists.")  # noqa: UP045
    ] = None,
    optimizer: Annotated[
        Optional[str], typer.Option(help="By default the first that the config lists.")  # noqa: UP045
    ] = None,
    set_: Set = None,
    depth: Annotated[int, typer.Option(help="How deep the module tree is shown.")] = 2,
    blocks: Annotated[int, typer.Option(help="How many of the largest blocks are shown.")] = 10,
    snapshot: Annotated[
        Optional[Path], typer.Option(help="Also write a snapshot for pytorch.org/memory_viz here.")  # noqa: UP045
    ] = None,
    address_spread: Annotated[
        bool, typer.Option("--error-bar", help="Also run it with the driver's addresses in other orders; phantoms.")
    ] = False,
    output_dir: OutputDir = Path("results"),
    json: Json = False,
) -> int:
    """Run one batch size once and name every byte of its peak, from the allocator's own history."""
    from memprof.cli import explain as command
    from memprof.cli.sweep import overrides

    sizes = [] if batch_size is None else [str(batch_size)]
    chosen = overrides(gpu, sizes, [optimizer] if optimizer else [], set_ or [])
    wanted = command.ExplainOptions(
        depth=depth, blocks=blocks, snapshot=snapshot, folder=output_dir, json=json, address_spread=address_spread
    )
    if config.suffix in (".pickle", ".pkl"):
        return command.run_snapshot(config, chosen, wanted)
    return command.run(config, chosen, wanted)


@app.command()
def fit(
    config: ConfigFile,
    memory: Annotated[
        Optional[str], typer.Option(help="For example 8GiB; by default all that the GPU has.")  # noqa: UP045
    ] = None,
    batch_size: Annotated[
        Optional[int], typer.Option(help="By default the largest that the config lists.")  # noqa: UP045
    ] = None,
    gpu: Gpu = None,
    set_: Set = None,
    json: Json = False,
) -> int:
    """Find the knobs that make a batch fit into so much memory, those that cost no speed first."""
    from memprof.cli import fit as command
    from memprof.cli.sweep import overrides

    sizes = [] if batch_size is None else [str(batch_size)]
    question = command.FitOptions(path=config, overrides=overrides(gpu, sizes, [], set_ or []), memory=memory)
    return command.run(question, json)


@app.command(name="max-batch")
def max_batch(
    config: ConfigFile,
    gpu: Annotated[
        Optional[list[str]], typer.Option(help="cuda:N or a name of `memprof gpus`, repeatable; or all.")  # noqa: UP045
    ] = None,
    memory: Annotated[
        Optional[str], typer.Option(help="At most so much for PyTorch's allocator, for example 16GiB.")  # noqa: UP045
    ] = None,
    start: Annotated[
        Optional[int], typer.Option(help="The first batch size to try; by default one that is sure to fit.")  # noqa: UP045
    ] = None,
    max_: Annotated[Optional[int], typer.Option("--max", help="Try none beyond it.")] = None,  # noqa: UP045
    multiple_of: Annotated[int, typer.Option(help="Only multiples of it.")] = 1,
    timeout: Annotated[
        Optional[float], typer.Option(help="Seconds after which the search says what it has.")  # noqa: UP045
    ] = None,
    target_batch: Annotated[
        Optional[int], typer.Option(help="Also find the micro-batch and accumulation that give it.")  # noqa: UP045
    ] = None,
    optimizer: Annotated[
        Optional[str], typer.Option(help="By default the first that the config lists.")  # noqa: UP045
    ] = None,
    set_: Set = None,
    output_dir: OutputDir = Path("results"),
    json: Json = False,
) -> int:
    """Find the largest batch size that trains, and prove it: the next one does not."""
    from memprof.cli import max_batch as command
    from memprof.cli.sweep import overrides

    wanted = command.MaxBatchOptions(
        gpus=gpu or [],
        memory=memory,
        start=start,
        most=max_,
        multiple_of=multiple_of,
        timeout_seconds=timeout,
        target_batch_size=target_batch,
        folder=output_dir,
        json=json,
    )
    return command.run(config, overrides(None, [], [optimizer] if optimizer else [], set_ or []), wanted)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def run(
    command: Annotated[list[str], typer.Argument(help="The command, behind `--`.")],
    gpu: Annotated[str, typer.Option(help="A GPU of the catalog; NAME:8 for eight of it.")] = "h100-80gb",
) -> int:
    """Run any command on a phantom GPU, then say the peak of device memory."""
    from memprof.cli import run as implementation

    return implementation.run(gpu, command)


@app.command()
def monitor(
    gpu: Annotated[
        Optional[list[str]], typer.Option(help="cuda:N or a phantom of `memprof gpus`, repeatable; else all.")  # noqa: UP045
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds from one sample to the next.")] = 1.0,
    log: Annotated[Optional[Path], typer.Option(help="Also append each sample to this CSV file.")] = None,  # noqa: UP045
    once: Annotated[bool, typer.Option("--once", help="Take one sample and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a sample, each on a line.")] = False,
) -> int:
    """Watch the GPUs in use, real and phantom, and who uses how much. Ctrl-C ends it."""
    from memprof.cli import monitor as command

    options = command.MonitorOptions(gpus=gpu or [], interval_seconds=interval, log=log, once=once, json=json)
    return command.run(options)


@app.command()
def gpus(json: Json = False) -> int:
    """List the GPUs of this machine and those that a phantom can play."""
    from memprof.cli import gpus as command

    return command.run(json)


@app.command()
def doctor(json: Json = False) -> int:
    """Check what memprof needs: GPU, driver, PyTorch, CUDA, cuDNN, compiler, phantom."""
    from memprof.cli import doctor as command

    return command.run(json)


@app.command()
def verify(
    output: Annotated[Path, typer.Option("--output", help="The folder for the record.")] = Path("docs/fidelity"),
    json: Json = False,
) -> int:
    """Run a battery on this machine's GPU and on its phantom: the difference in bytes, and a record to send."""
    from memprof.cli import verify as command

    return command.run(output, json)


@app.command()
def calibrate(
    gpu: Annotated[str, typer.Option(help="The real GPU to measure, cuda:N.")] = "cuda:0",
    json: Json = False,
) -> int:
    """Measure what CUDA itself takes on this machine's GPU, for phantoms of that card."""
    from memprof.cli import calibrate as command

    return command.run(gpu, json)


@app.command()
def schema() -> int:
    """Print the JSON Schema of config files, for editors."""
    import json

    from memprof.config.load import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
    return 0
