"""The JSON of an answer: what a command prints with ``--json``, and what `to_dict` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from memprof.breakdown.explanation import Explained
from memprof.experiments.fit import Step, cheapest_of, peak_bytes, smallest_of
from memprof.experiments.fit_gpus import MeshRun
from memprof.experiments.memory_savers import merged_settings
from memprof.experiments.run import SimulatedRun
from memprof.records import SCHEMA_VERSION, Environment, MaxBatch, Source
from memprof.results import row
from memprof.results.comparison import VariantResult, against_base, optimizer_states
from memprof.results.diff import FIGURES


def max_batch_document(answers: Sequence[MaxBatch], environment: Environment) -> dict[str, Any]:
    """Return the answer of one GPU, or those of several, the largest batch first."""
    header = {"schema_version": SCHEMA_VERSION}
    if len(answers) == 1:
        return {**header, **_answer(answers[0], environment)}
    ranked = sorted(answers, key=lambda answer: -answer.largest_batch_size)
    return {**header, "gpus": [_answer(answer, environment) for answer in ranked]}


def _answer(answer: MaxBatch, environment: Environment) -> dict[str, Any]:
    fields = asdict(answer)
    fit = fields.pop("fit") or dict.fromkeys(("fixed_bytes", "bytes_per_sample", "residual_bytes"))
    gpu = answer.gpu if answer.source is Source.EMULATED else environment.gpu
    circumstances = replace(environment, gpu=gpu, gpu_total_bytes=answer.gpu_total_bytes)
    return {
        "largest_batch_size": fields.pop("largest_batch_size"),
        "safe_batch_size": answer.safe_batch_size,
        "batch_size_at_80_percent_memory": fields.pop("batch_size_at_80_percent_memory"),
        **fields,
        **{f"fit_{name}" if name == "residual_bytes" else name: value for name, value in fit.items()},
        "environment": asdict(circumstances),
    }


def explain_document(explained: Explained) -> dict[str, Any]:
    """Return an explanation with its own fields at the top level, where scripts look for figures."""
    explanation = explained.explanation
    return {
        "schema_version": SCHEMA_VERSION,
        "source": explained.source.value,
        **(asdict(explanation) if explanation else {}),
        "memory_levels": [asdict(level) for level in explanation.memory_levels] if explanation else None,
        "differences": [asdict(row) for row in explained.differences],
        "spread": asdict(explained.spread) if explained.spread else None,
        "advice": [asdict(advice) for advice in explained.advice],
        "record": asdict(explained.record),
    }


def compare_document(
    base: Mapping[str, Any], environment: Environment, answers: Sequence[VariantResult]
) -> dict[str, Any]:
    """Return the rows of a comparison, each with its change against the base; `base` is the base's config."""
    rows = [
        {
            "variant": answer.record.variant,
            "settings": dict(answer.settings),
            **row(answer.record),
            "change": {
                figure: {"bytes": pair.change(figure).bytes, "percent": pair.change(figure).percent}
                for figure in FIGURES
            },
        }
        for answer, pair in zip(answers, against_base(answers), strict=True)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": asdict(environment),
        "base": dict(base),
        "rows": rows,
        "optimizer_states": [{**asdict(state), "factor": state.factor} for state in optimizer_states(answers)],
    }


def gpus_document(found: Sequence[MeshRun], best: MeshRun | None) -> dict[str, Any]:
    """Return the meshes that were run, and the one that leaves most room, if any trains."""
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": asdict(found[0].record.environment),
        "fits": best is not None,
        "mesh": dict(best.mesh.sizes) if best else None,
        "gpus": best.mesh.world_size if best else None,
        "meshes": [
            {
                **row(run.record),
                "sizes": dict(run.mesh.sizes),
                "global_batch_size": run.global_batch_size,
                "device_bytes": run.device_bytes,
                "headroom_bytes": run.headroom_bytes,
            }
            for run in found
        ],
    }


def fit_document(steps: Sequence[Step], limit_bytes: int | None, command: str | None) -> dict[str, Any]:
    """Return the steps of a fit and the settings with which the batch fits, if any."""
    first = next(step.free for step in steps if step.free)
    best, smallest = cheapest_of(steps), smallest_of(steps)
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": asdict(first.environment),
        "memory_limit_bytes": limit_bytes,
        "fits": best is not None,
        "settings": {setting.key: setting.value for setting in merged_settings(best.savers)} if best else None,
        "command": command,
        "peak_allocated_bytes": peak_bytes(best.within) if best else None,
        "peak_reserved_bytes": peak_bytes(best.within, "reserved") if best else None,
        "smallest_peak_allocated_bytes": peak_bytes(smallest.free) if smallest else None,
        "source": first.source.value,
        "steps": [_step(step) for step in steps],
    }


def run_document(runs: Sequence[SimulatedRun]) -> dict[str, Any]:
    """Return a command's peaks on one GPU, or those on several."""
    header = {"schema_version": SCHEMA_VERSION, "source": Source.EMULATED.value}
    if len(runs) == 1:
        return {**header, **_run(runs[0])}
    return {**header, "command": list(runs[0].asked.command), "gpus": [_run(run) for run in runs]}


def _run(run: SimulatedRun) -> dict[str, Any]:
    spec, code = run.asked.spec, run.ended.returncode
    largest = [run.largest_process(gpu) for gpu in range(run.asked.devices)]
    known = [found for found in largest if found is not None]
    return {
        "command": list(run.asked.command),
        "gpu": spec.key,
        "gpu_total_bytes": spec.total_bytes,
        "devices": run.asked.devices,
        "status": run.status.value,
        "exit_status": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "peak_allocated_bytes": max((found.peak_allocated_bytes for found in known), default=None),
        "peak_reserved_bytes": max((found.peak_reserved_bytes for found in known), default=None),
        "peak_device_bytes": run.peak_bytes,
        "peak_device_bytes_of_each_gpu": list(run.device_peaks_bytes),
        "needed_bytes": run.needed_bytes,
        "refused_requests": run.refusals,
        "context_bytes": spec.context_bytes,
        "context_is_assumed": spec.context_is_assumed,
        "unknown_workspaces": run.unknown_workspaces,
        "communicators": run.communicators,
        "rank": run.asked.one_rank.rank if run.asked.one_rank else None,
        "world_size": run.asked.one_rank.world_size if run.asked.one_rank else None,
        "processes": [asdict(found) for found in run.ended.counters],
        "uncounted_processes": run.ended.uncounted,
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "setting": step.added,
        "left_out": step.left_out,
        "kept": step.kept,
        "fits": step.fits,
        "cost": step.cost,
        "changes_training": step.changes_training,
        "settings": {setting.key: setting.value for setting in merged_settings(step.savers)},
        "peak_allocated_bytes": peak_bytes(step.free),
        "peak_reserved_bytes": peak_bytes(step.free, "reserved"),
        "saved_bytes": step.saved_bytes,
        "saved_reserved_bytes": step.saved_reserved_bytes,
        "reason": step.reason,
    }
