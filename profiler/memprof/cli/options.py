"""The arguments and options of all commands, each declared once.

A metavar names what is written in its place; `help_pages.py` adds an ellipsis if an option may be repeated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memprof.cli import completion

# What is measured, and what was saved
ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or a model: torchvision:NAME, timm:NAME, FILE.py:NAME.",
        autocompletion=completion.configs,
    ),
]
ConfigFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="CONFIG",
        help="YAML files, or models: torchvision:NAME, timm:NAME, FILE.py:NAME.",
        autocompletion=completion.configs,
    ),
]
CampaignFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A YAML file with the keys models, gpus and settings.")
]
ConfigOrSnapshot = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, a model, or a PyTorch memory snapshot (.pickle).",
        autocompletion=completion.configs,
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="torchvision:NAME, timm:NAME, transformers:CLASS, FILE.py:NAME.",
        autocompletion=completion.configs,
    ),
]
SavedResult = Annotated[
    str,
    typer.Argument(
        metavar="RESULT",
        help="A results folder, a file in it, or the name of a config.",
        autocompletion=completion.saved_results,
    ),
]
OtherResult = Annotated[
    str,
    typer.Argument(
        metavar="RESULT", help="Another result, compared with the first.", autocompletion=completion.saved_results
    ),
]
Baseline = Annotated[
    str,
    typer.Option(
        "--baseline",
        metavar="RESULT",
        help="Baseline result.",
        autocompletion=completion.saved_results,
    ),
]
Command = Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command to run, after `--`.")]

# Overriding the config
GpuName = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        metavar="NAME",
        help="auto, cuda:N, or a name that `memprof gpus` lists.",
        autocompletion=completion.gpus,
    ),
]
BatchSizes = Annotated[
    list[str] | None, typer.Option("--batch-size", metavar="N", help="Instead of the config's: 16,32,64.")
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", help="Batch size. Default: the first of the config."),
]
ComparedBatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Default: the largest of the config that fits.")
]
LargestBatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Batch size. Default: the largest of the config.")
]
Optimizers = Annotated[
    list[str] | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="Of the config, or any other: sgd,adamw.",
        autocompletion=completion.optimizers,
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="Optimizer. Default: the first of the config.",
        autocompletion=completion.optimizers,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any config key; may be repeated.", autocompletion=completion.settings
    ),
]

RequiredSource = Annotated[
    str | None,
    typer.Option(
        "--require",
        metavar="SOURCE",
        help="Fail unless results are measured or emulated.",
        autocompletion=completion.one_of("measured", "emulated"),
    ),
]

# Where it is measured
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Where: local, ray or slurm. Default: local.",
        autocompletion=completion.one_of("local", "ray", "slurm"),
    ),
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="The cluster's head. Default: auto.")
]
Runners = Annotated[
    int | None, typer.Option("--runners", metavar="N", help="Points at a time. Default: as many as fit.")
]

# Output
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
OutputDir = Annotated[Path, typer.Option("--output-dir", metavar="FOLDER", help="The folder for results.")]
StartOver = Annotated[bool, typer.Option("--force", help="Start over instead of resuming an interrupted run.")]

# summary, explain
SummaryDepth = Annotated[
    int | None,
    typer.Option("--depth", metavar="N", help="Levels of modules; 0 is the model alone. --json: all."),
]
Depth = Annotated[int | None, typer.Option("--depth", metavar="N", help="Levels of modules; 0 is the model alone.")]
Blocks = Annotated[int, typer.Option("--blocks", metavar="N", help="Number of largest blocks to show.")]
SnapshotFile = Annotated[
    Path | None,
    typer.Option("--snapshot", metavar="FILE", help="Also write a snapshot for pytorch.org/memory_viz."),
]
SpreadOption = Annotated[
    bool,
    typer.Option("--spread", help="Also run with other addresses, timings and caches."),
]

NoAdvice = Annotated[bool, typer.Option("--no-advice", help="Do not run changes that may save memory.")]

# compare, fit
Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="KEY=A,B",
        help="A config key and its values; may be repeated.",
        autocompletion=completion.settings,
    ),
]
Grid = Annotated[bool, typer.Option("--grid", help="Every combination instead of one setting at a time.")]
FindMaxBatch = Annotated[bool, typer.Option("--max-batch", help="Also find the largest batch of each variant.")]
FitMemory = Annotated[
    str | None,
    typer.Option("--memory", metavar="BYTES", help="8GiB or 8GB: the limit; without --gpu, the GPU's size."),
]
FitGpus = Annotated[str | None, typer.Option("--gpus", metavar="N", help="Try all meshes of N GPUs, or: fewest.")]
SameTraining = Annotated[
    bool, typer.Option("--same-training", help="Try no setting that changes what is trained, such as LoRA.")
]

# max-batch
GpuNames = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu",
        metavar="NAME",
        help="cuda:N, names of the catalog (t4,rtx-4090), or all.",
        autocompletion=completion.gpu_lists,
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option("--memory", metavar="BYTES", help="Limit PyTorch to 16GiB; without --gpu: the GPU's size."),
]
StartBatch = Annotated[
    int | None, typer.Option("--start", metavar="N", help="First batch size to try. Default: one sure to fit.")
]
MaxBatch = Annotated[int | None, typer.Option("--max", metavar="N", help="Largest batch size to try.")]
MultipleOf = Annotated[int, typer.Option("--multiple-of", metavar="N", help="Try only multiples of N.")]
SearchTimeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Stop after this time and print the best so far."),
]
TargetBatch = Annotated[
    int | None,
    typer.Option("--target-batch", metavar="N", help="Also find the micro-batch and accumulation that give N."),
]

# plot, report
PlotKind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="batch, categories, timeline. Default: first available.",
        autocompletion=completion.one_of("batch", "categories", "timeline"),
    ),
]
PlotOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="PNG or SVG file, or folder. Default: the result's."),
]
PlotFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="png, svg or both. Default: png.",
        autocompletion=completion.one_of("png", "svg", "both"),
    ),
]
PlotTheme = Annotated[
    str,
    typer.Option(
        "--theme",
        metavar="THEME",
        help="light or dark.",
        autocompletion=completion.one_of("light", "dark"),
    ),
]
InTerminal = Annotated[bool, typer.Option("--terminal", help="Draw in the terminal and write no file.")]
PlotJson = Annotated[bool, typer.Option("--json", help="Print the plotted figures as JSON.")]
ReportOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The file to write. Default: report.html, or stdout."),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Write Markdown for a pull request instead of HTML.")]

# diff, check
CompareUnlike = Annotated[bool, typer.Option("--force", help="Compare different GPUs or versions too.")]
MaxIncrease = Annotated[
    str, typer.Option("--max-increase", metavar="LIMIT", help="Allowed growth: 5 (percent) or 16MiB.")
]

# run, monitor, verify, calibrate
SimulatedGpu = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        metavar="NAME",
        help="Its name, or NAME:8 for eight GPUs. Default: h100-80gb.",
        autocompletion=completion.gpus,
    ),
]
FitsGpus = Annotated[
    list[str] | None,
    typer.Option("--fits", metavar="NAMES", help="Run on each of these GPUs, for example t4,l4,a10g."),
]
MostMemory = Annotated[
    str | None, typer.Option("--max", metavar="BYTES", help="Exit with 8 if a GPU's peak is above, e.g. 8GiB.")
]
RunJson = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")]
RunSnapshot = Annotated[
    Path | None,
    typer.Option("--snapshot", metavar="FILE", help="Record the memory history, for `memprof explain`."),
]
RunValues = Annotated[str, typer.Option("--values", metavar="HOW", help="Of tensors: zeros, or cpu (slower).")]
OneRank = Annotated[
    int | None, typer.Option("--rank", metavar="N", help="The rank that runs; with --world-size. Default: 0.")
]
WorldSize = Annotated[
    int | None,
    typer.Option("--world-size", metavar="N", help="Run one rank of N processes; the others are absent."),
]
CheckpointWrites = Annotated[
    str, typer.Option("--writes", metavar="HOW", help="Saved checkpoints: keep, discard or allow.")
]
WatchedGpus = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu", metavar="NAME", help="cuda:N or names of the catalog. Default: all.", autocompletion=completion.gpus
    ),
]
Interval = Annotated[float, typer.Option("--interval", metavar="SECONDS", help="Time between samples.")]
LogFile = Annotated[Path | None, typer.Option("--log", metavar="FILE", help="Also append each sample to a CSV file.")]
Once = Annotated[bool, typer.Option("--once", help="Take one sample and exit.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per sample, one per line.")]
ExportTo = Annotated[str, typer.Option("--to", metavar="TOOL", help="csv, parquet, tensorboard, wandb or mlflow.")]
ExportPlace = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="PLACE", help="File, folder (tensorboard) or project (wandb, mlflow)."),
]
RecordFolder = Annotated[Path, typer.Option("--output", metavar="FOLDER", help="The folder for the record.")]
RealGpu = Annotated[str, typer.Option("--gpu", metavar="NAME", help="The GPU to measure: cuda:N.")]

# serve
IdleMinutes = Annotated[
    float, typer.Option("--idle-minutes", metavar="N", help="End after this time without a command.")
]
ServerStatus = Annotated[bool, typer.Option("--status", help="Show what runs, and start nothing.")]
StopServer = Annotated[bool, typer.Option("--stop", help="End what runs.")]

Version = Annotated[bool, typer.Option("--version", help="Print the version.")]
