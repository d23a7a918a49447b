"""`memprof campaign`: models × GPUs × settings of one file, measured together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memprof.cli import options
from memprof.cli.console import print_json, print_line, print_verdict, stdout
from memprof.cli.engine import engine_options
from memprof.cli.require import required_source
from memprof.cli.saving import Output
from memprof.cli.sweep import exit_status, run_sweeps
from memprof.config.campaign import load_campaign
from memprof.engines.protocol import Estimate
from memprof.experiments.campaign import CampaignRow, campaign_rows
from memprof.gpus.catalog import find_gpu
from memprof.report.terminal.campaign import campaign_table, campaign_verdict
from memprof.results import Result, to_json

EXAMPLES = """\
memprof campaign campaign.yaml
memprof campaign campaign.yaml --engine ray --address 10.0.0.5:6379"""


def command(
    file: options.CampaignFile,
    require: options.RequiredSource = None,
    engine: options.Engine = None,
    address: options.Address = None,
    runners: options.Runners = None,
    output_dir: options.OutputDir = Path("results"),
    force: options.StartOver = False,
    json: options.Json = False,
) -> int:
    """Measure each combination, or the rest of them, and print a row for each."""
    where = engine_options(engine, address, runners, output_dir)
    combinations = load_campaign(file, find_gpu)
    output = Output(folder=output_dir, force=force, json=json)
    sweeps = [combination.loaded for combination in combinations]
    saved = run_sweeps(sweeps, output, required_source(require), where, Estimate.OPTIONAL)
    rows = campaign_rows(combinations, [result.records for result in saved])
    if json:
        print_json({"campaign": [_document(row, result) for row, result in zip(rows, saved, strict=True)]})
    else:
        print_verdict(campaign_verdict(rows))
        console = stdout()
        console.print(campaign_table(rows, console.width))
        print_line(f"saved in {len(saved):,} folders below {output_dir}")
    return exit_status(saved)


def _document(row: CampaignRow, saved: Result) -> dict[str, Any]:
    one = row.combination
    named = {"model": one.model, "gpu": one.gpu, "settings": one.settings, "folder": str(saved.path)}
    return {**named, **to_json(saved.records, saved.manifest.environment)}
