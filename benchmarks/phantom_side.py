"""`python -m benchmarks.phantom_side`: the phantom's side of an H200's records in docs/fidelity, measured again.

The runs are the record's programs (`benchmarks.fidelity.programs`). The installed PyTorch must be the record's:
`make check-torch TORCH=2.11.0 TORCHVISION=0.26.0` makes an environment with it, which needs transformers and timm too.
`--only verify` runs a part; others are `models` and `max-batch`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.campaign import Server, open_server
from benchmarks.csv_rows import read_rows, write_rows
from benchmarks.fidelity.programs import LOOP, config_of
from benchmarks.fidelity.truth import FOLDER
from benchmarks.real_loops import find_largest
from memprof.config.schema import SweepConfig
from memprof.engines.local import default_jobs
from memprof.experiments.session import open_session
from memprof.experiments.verify import Entry, Figures, Verification, load_verification, to_json, verify_cases
from memprof.experiments.verify.run import job_of, loaded_cases
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device

GPU, VERSIONS = "h200", {"torch": "2.11.0", "torchvision": "0.26.0"}
SETTINGS = tuple(word for key, value in LOOP.items() for word in ("--set", f"{key}={value}"))
MODELS, LARGEST = FOLDER / "nvidia-h200-models.csv", FOLDER / "nvidia-h200-max-batch.csv"
RECORD = FOLDER / "nvidia-h200-torch-2.11.0+cu130-cudnn-9.19.0.json"
HUBS = ("transformers", "timm")  # by `memprof sweep` of the configs; the other families are torchvision's


def renew_models(device: Device) -> None:
    """Write the emulated columns of `MODELS`; reserved bytes stay empty where the H200's were not recorded."""
    with open_server(device.environment) as server:
        _rewrite(MODELS, lambda row: _of_hub(row) if row["family"] in HUBS else _of_torchvision(server, row))


def _of_hub(row: Mapping[str, str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as results:
        options = ("--batch-size", row["batch_size"], "--gpu", GPU, *SETTINGS, "--json", "--output-dir", results)
        command = (sys.executable, "-m", "memprof", "sweep", str(config_of(row["model"])), *options)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    [found] = json.loads(done.stdout)["rows"]
    return {f"emulated_{name}_bytes": found[f"peak_{name}_bytes"] for name in ("requested", "allocated", "reserved")}


def _of_torchvision(server: Server, row: Mapping[str, str]) -> dict[str, object]:
    found = server.run("step", row["model"])
    return {
        "emulated_requested_bytes": found["requested_bytes"],
        "emulated_allocated_bytes": found["peak_bytes"],
        "emulated_reserved_bytes": found["reserved_bytes"] if row["measured_reserved_bytes"] else "",
    }


def renew_largest(_: Device) -> None:
    """Write the emulated column of `LARGEST`."""
    _rewrite(LARGEST, lambda row: {"emulated_largest_batch_size": find_largest(row["config"], GPU, *SETTINGS)})


def renew_verification(device: Device) -> None:
    """Write the phantom's figures of `RECORD`."""
    old = load_verification(RECORD)
    found = dict(_verified(device))
    rows = tuple(replace(row, phantom=found[row.model, row.point]) for row in old.rows)
    renewed = Verification(gpu=old.gpu, phantom=old.phantom, rows=rows)
    RECORD.write_text(json.dumps(to_json(renewed), indent=2) + "\n", encoding="utf-8")


def _verified(device: Device) -> Iterator[tuple[tuple[str, str], Figures]]:
    entries = [_resident(entry) for entry in verify_cases()]
    jobs = [job_of(entry) for entry in entries]
    with open_session(loaded_cases(entries), device) as session:
        for entry, outcome in zip(entries, session.client.outcomes(jobs, default_jobs(device.source)), strict=True):
            yield (entry.model, entry.point), Figures.of(outcome)


def _resident(entry: Entry) -> Entry:
    settings = entry.config.model_dump(mode="json", exclude_unset=True)
    return replace(entry, config=SweepConfig.model_validate({**settings, **LOOP}))


def _rewrite(file: Path, renewed: Callable[[Mapping[str, str]], Mapping[str, object]]) -> None:
    """Replace columns in each row of a CSV file: those that `renewed` returns for the row."""
    rows = [{**row, **renewed(row)} for row in read_rows(file)]
    write_rows(file, list(rows[0]), rows)


PARTS = {"models": renew_models, "verify": renew_verification, "max-batch": renew_largest}


def main() -> int:
    """Renew the files; the exit status is 2 with other versions than the record's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phantom_side", description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    only = parser.parse_args().only
    for package, wanted in VERSIONS.items():
        if (installed := version(package)) != wanted:
            print(f"phantom_side: {package} {installed} is installed; the record needs {wanted}", file=sys.stderr)
            return 2
    device = phantom_device(find_gpu(GPU))
    for name, renew in PARTS.items():
        if only in (None, name):
            renew(device)
            print(f"phantom_side: {name} renewed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
