"""`memprof summary`: show the model's modules with their shapes and bytes. No GPU is used, real or simulated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from memprof.breakdown.module_summary import KnownParts, ModuleSummary
from memprof.cli import next_command, options
from memprof.cli.console import print_json, print_next, print_verdict, progress_bar, stdout
from memprof.cli.inferred import note_inferred
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Override
from memprof.errors import ConfigError, ExitCode
from memprof.experiments.session import open_session
from memprof.gpus.select import analytic_device
from memprof.records import SCHEMA_VERSION, Environment
from memprof.report.terminal.summary import down_to, summary_tree
from memprof.report.verdicts import summary_verdict

EXAMPLES = """\
memprof summary torchvision:resnet18
memprof summary configs/vit_b_16.yaml --depth 2 --batch-size 8 --json"""
_CIRCUMSTANCES = ("model", "optimizer", "precision", "mode", "batch_size", "source")


@takes_model
def command(
    config: options.ConfigFile,
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = None,
    depth: options.SummaryDepth = None,
    set_: options.Settings = None,
    json: options.Json = False,
    model: ModelOptions = (),
) -> int:
    """Show the modules of a model."""
    chosen = overrides(batch_sizes=[batch_size], optimizers=[optimizer], settings=set_, model=model)
    return run(config, chosen, depth, json)


def run(config: Path, chosen: Sequence[Override], depth: int | None, json: bool) -> ExitCode:
    """Print the modules at the config's first optimizer and first batch size.

    They go down to `depth`. If it is ``None``, the tree is as deep as it stays short, and the JSON object has all.
    """
    if depth is not None and depth < 0:
        raise ConfigError(f"--depth {depth}: write 0 for the model alone, 1 for the modules in it, and so on")
    loaded = _of_whole_model(load(config, chosen))
    point = loaded.config.points()[0][0], loaded.config.list_batch_sizes()[0]
    note_inferred(loaded, [point])
    with progress_bar("starting PyTorch", None), open_session(loaded, analytic_device("not needed")) as session:
        summary = session.client.module_summary(point)
    if json:
        print_json(_json(summary, session.environment, depth))
    else:
        console = stdout()
        print_verdict(summary_verdict(summary))
        console.print(summary_tree(summary, depth, console.width))
        print_next(next_command.after_summary(("memprof", *sys.argv[1:]), summary))
    return ExitCode.OK


def _of_whole_model(loaded: LoadedConfig) -> LoadedConfig:
    """Return the config without ranks: the summary is that of the whole model."""
    return replace(loaded, config=loaded.config.model_copy(update={"parallel": None}))


def _json(summary: ModuleSummary, environment: Environment, depth: int | None) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": asdict(environment),
        **{name: getattr(summary, name) for name in _CIRCUMSTANCES},
        "modules": [
            {
                "path": row.path,
                "type": row.type,
                "runs": len(row.calls),
                "output_shapes": [[list(shape) for shape in shapes] for shapes in row.calls],
                "parameters": row.parameters,
                "trainable_parameters": row.trainable_parameters,
                **_bytes(row.parts),
                "shared": dict(row.shared),
                "same_as": row.same_as,
            }
            for row in down_to(summary.rows, depth)
        ],
        "outside": _bytes(summary.outside_parts),
        "totals": {**_bytes(summary.totals), "total_bytes": summary.total_bytes},
    }


def _bytes(parts: KnownParts) -> dict[str, int | None]:
    return {f"{name}_bytes": amount for name, amount in parts.items()}
