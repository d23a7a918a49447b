"""Rows in an experiment tracker: one run for each curve, and the batch size as its step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memprof.errors import ResultError
from memprof.records import RunRecord, Status
from memprof.results.load import Result
from memprof.results.rows import row

_MAX_MLFLOW_PARAMETER = 500  # characters, see mlflow.utils.validation.MAX_PARAM_VAL_LENGTH before 2.8


def log_to_tensorboard(result: Result, place: str) -> str:
    """Write event files below the folder `place`, in one folder for each curve.

    Raises:
        ResultError: a folder of this result exists, or cannot be written.
    """
    from tensorboard.summary import Writer

    root = Path(place, result.manifest.name, result.path.name)
    if root.exists():
        raise ResultError(f"{root} exists already; name another folder with --output")
    try:
        for curve, records in _curves(result):
            writer = Writer(str(root / curve.replace(os.sep, "_")))
            for record in records:
                for name, value in _figures(record).items():
                    writer.add_scalar(name, value, step=record.batch_size)
            writer.close()
    except OSError as error:
        raise ResultError(f"{root} cannot be written: {error.strerror}") from None
    return f"{_count(result)} in {root}: tensorboard --logdir {place}"


def log_to_wandb(result: Result, place: str) -> str:
    """Log to the project `place` of W&B. ``WANDB_MODE=offline`` keeps the runs on this machine."""
    import wandb

    for curve, records in _curves(result):
        run = wandb.init(project=place, name=f"{result.manifest.name} {curve}", config=_config(result), reinit=True)
        run.define_metric("*", step_metric="batch_size")
        for record in records:
            run.log({"batch_size": record.batch_size, **_figures(record)})
        run.finish()
    return f"{_count(result)} in the project {place} of W&B"


def log_to_mlflow(result: Result, place: str) -> str:
    """Log to the experiment `place` of MLflow, on the server that ``MLFLOW_TRACKING_URI`` names."""
    import mlflow

    mlflow.set_experiment(place)
    for curve, records in _curves(result):
        with mlflow.start_run(run_name=f"{result.manifest.name} {curve}"):
            mlflow.log_params({key: str(value)[:_MAX_MLFLOW_PARAMETER] for key, value in _config(result).items()})
            for record in records:
                mlflow.log_metrics(dict(_figures(record)), step=record.batch_size)
    return f"{_count(result)} in the experiment {place} of MLflow at {mlflow.get_tracking_uri()}"


def _curves(result: Result) -> Iterator[tuple[str, Sequence[RunRecord]]]:
    """Yield the rows of each variant and optimizer that ran, under a name; a failed row has no whole peak."""
    named: dict[str, list[RunRecord]] = {}
    for record in (record for record in result.records if record.status is Status.OK):
        parts = (record.variant, record.optimizer or record.mode)
        named.setdefault(" ".join(part for part in parts if part), []).append(record)
    yield from named.items()


def _count(result: Result) -> str:
    failed = [record for record in result.records if record.status is not Status.OK]
    rows = f"{len(result.records) - len(failed):,} rows"
    return f"{rows} (without {len(failed):,} that did not run)" if failed else rows


def _figures(record: RunRecord) -> Mapping[str, float]:
    """Return the known figures of a row in bytes."""
    return {
        f"memory/{name}": value
        for name, value in row(record).items()
        if name.endswith("_bytes") and isinstance(value, int)
    }


def _config(result: Result) -> dict[str, Any]:
    """Return the config with the versions and the source of the figures."""
    environment = result.manifest.environment
    return {
        **result.manifest.config,
        "gpu": environment.gpu,
        "source": environment.source.value,
        "torch_version": environment.torch_version,
        "memprof_version": environment.memprof_version,
    }
