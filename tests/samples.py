"""Example records, results and explanations that several tests need; no run produced them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memprof.breakdown.explanation import (
    CACHED,
    CONTEXT,
    ROUNDING,
    Block,
    Category,
    Difference,
    Explained,
    Explanation,
    ModuleRow,
    PeakContext,
    PhaseSpan,
    Timeline,
)
from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.experiments.verify import Figures, Row, Verification
from memprof.records import (
    Breakdown,
    Environment,
    MaxBatch,
    MemoryFit,
    Phase,
    PhaseReading,
    Reading,
    RunRecord,
    Source,
    Status,
    StepReading,
    StopReason,
    Trial,
)
from memprof.results import Manifest, Result
from memprof.units import GIB, MIB, round_up

TRAINING_PHASES = tuple(phase for phase in Phase if phase not in (Phase.RESUME, Phase.PIPELINE, Phase.EVALUATION))


def sample_environment(**changes: Any) -> Environment:
    """Return the environment of a sweep on a phantom H100, with `changes`."""
    environment = Environment(
        memprof_version="0.1.0",
        python_version="3.11.7",
        platform="Linux-x86_64",
        torch_version="2.14.1",
        torchvision_version=None,
        cuda_version="13.0",
        cudnn_version="9.24.0",
        driver_version=None,
        gpu="h100-80gb",
        gpu_total_bytes=85_017_493_504,
        source=Source.EMULATED,
        allocator_settings=None,
    )
    return replace(environment, **changes)


def sample_breakdown(**changes: Any) -> Breakdown:
    """Return an analytic estimate of 6,000 bytes, with `changes`."""
    breakdown = Breakdown(
        parameters_bytes=1_000,
        buffers_bytes=0,
        gradients_bytes=1_000,
        optimizer_state_bytes=2_000,
        input_bytes=500,
        activations_bytes=1_500,
        workspace_bytes=0,
        textbook_total_bytes=5_900,
    )
    return replace(breakdown, **changes)


def sample_phase(phase: Phase, peak_bytes: int, **changes: Any) -> PhaseReading:
    """Return the reading of a phase that allocates and frees `peak_bytes`, with `changes`."""
    reading = PhaseReading(
        phase=phase,
        allocated_before_bytes=0,
        peak_allocated_bytes=peak_bytes,
        allocated_after_bytes=0,
        peak_requested_bytes=peak_bytes,
        peak_reserved_bytes=peak_bytes,
    )
    return replace(reading, **changes)


def sample_reading(**changes: Any) -> Reading:
    """Return the reading of two steps whose phases peak at 1,000 to 4,000 bytes, with `changes`."""
    peaks = {Phase.FORWARD: 1_000, Phase.LOSS: 2_000, Phase.BACKWARD: 4_000, Phase.OPTIMIZER: 3_000}
    step = StepReading(phases=tuple(sample_phase(phase, peak) for phase, peak in peaks.items()), seconds=None)
    reading = Reading(
        steps=(step, step),
        peak_allocated_bytes=4_000,
        peak_requested_bytes=3_900,
        peak_reserved_bytes=2 * MIB,
        nvml_used_bytes=None,
        context_bytes=None,
        inactive_split_bytes=0,
        allocation_retries=0,
        workspace_known=True,
    )
    return replace(reading, **changes)


def sample_record(**changes: Any) -> RunRecord:
    """Return the record of MNIST's MLP with Adam at batch size 64 on a phantom H100, with `changes`."""
    record = RunRecord(
        model="mnist_mlp",
        optimizer="adam",
        precision="fp32",
        mode="train",
        batch_size=64,
        source=Source.EMULATED,
        status=Status.OK,
        environment=sample_environment(),
        breakdown=sample_breakdown(),
        reading=sample_reading(),
    )
    return replace(record, **changes)


def sample_manifest(**changes: Any) -> Manifest:
    """Return the manifest of a sweep with two points, with `changes`."""
    manifest = Manifest(
        name="mnist_mlp",
        fingerprint="abc",
        config={"name": "mnist_mlp", "batch_sizes": [64, 256]},
        environment=sample_environment(),
        command=("memprof", "sweep", "configs/mnist_mlp.yaml"),
        points_planned=2,
        started="2026-11-22T01:42:00Z",
    )
    return replace(manifest, **changes)


def sample_result(*records: RunRecord, path: str = "a", **changes: Any) -> Result:
    """Return a loaded result with `records`; `changes` are those of its manifest."""
    return Result(path=Path(path), manifest=sample_manifest(**changes), records=records)


def sample_block(category: Category, name: str, requested_bytes: int, **changes: Any) -> Block:
    """Return a block of the model itself, allocated in forward of step 2, rounded to 512 B, with `changes`."""
    block = Block(
        category=category,
        name=name,
        requested_bytes=requested_bytes,
        block_bytes=round_up(requested_bytes, 512),
        module="",
        operator=None,
        step=2,
        phase=Phase.FORWARD,
        line="train.py:21",
    )
    return replace(block, **changes)


def sample_explained(batch_size: int = 64, **changes: Any) -> Explained:
    """Return an explanation of MNIST's MLP with Adam, with the peak in backward; every mapping adds up."""
    blocks = tuple(sorted(_blocks(batch_size), key=lambda block: -block.block_bytes))
    allocated = _parts(blocks)
    peak = sum(allocated.values())
    reserved, context = round_up(peak, 2 * MIB), 500 * MIB
    reserved_parts = {**allocated, CACHED: reserved - peak}
    requested = sum(block.requested_bytes for block in blocks)
    breakdown = _breakdown(batch_size)
    reading = _reading(peak, requested, reserved, context)
    record = sample_record(batch_size=batch_size, breakdown=breakdown, reading=reading)
    explanation = Explanation(
        peak_allocated_bytes=peak,
        peak_requested_bytes=requested,
        peak_reserved_bytes=reserved,
        nvml_used_bytes=reserved + context,
        context_bytes=context,
        allocated_parts=allocated,
        reserved_parts=reserved_parts,
        device_parts={**reserved_parts, CONTEXT: context},
        highest_parts=allocated,
        named_parts={"cuBLAS workspace": 64 * MIB},
        peak=_peak_context(peak, Phase.BACKWARD, allocated),
        other_peaks=(_peak_context(peak - 4096, Phase.FORWARD, {**allocated, "workspace": 64 * MIB - 4096}),),
        step_peaks=(_peak_context(peak - 8192, Phase.BACKWARD, {**allocated, "workspace": 64 * MIB - 8192}),),
        blocks=blocks,
        modules=_modules(blocks, batch_size),
        outside_parts=_parts(tuple(block for block in blocks if block.module is None)),
        timeline=_timeline(allocated),
        event_count=40,
    )
    differences = tuple(
        Difference(
            name=name,
            analytic_bytes=getattr(breakdown, f"{name}_bytes", None),
            bytes=size,
            reason="" if size == getattr(breakdown, f"{name}_bytes", None) else f"the estimate has no {name}",
        )
        for name, size in allocated.items()
    )
    return replace(Explained(record=record, explanation=explanation, differences=differences), **changes)


def _blocks(batch_size: int) -> Iterator[Block]:
    sizes = {"1.weight": 401_408, "1.bias": 512, "3.weight": 5_120, "3.bias": 40}
    for name, size in sizes.items():
        module = name.partition(".")[0]
        yield sample_block(Category.PARAMETERS, name, size, module=module, step=None, phase=None, line="model.py:9")
        yield sample_block(
            Category.GRADIENTS, name, size, module=module, operator="t", phase=Phase.BACKWARD, line="train.py:23"
        )
        for state in ("exp_avg", "exp_avg_sq"):
            yield sample_block(
                Category.OPTIMIZER_STATE, f"{state} of {name}", size, module=module, step=1, phase=Phase.OPTIMIZER
            )
    yield sample_block(Category.INPUT, "input 0", batch_size * 3_136, module=None, step=None, phase=None)
    yield sample_block(Category.INPUT, "target", batch_size * 8, module=None, step=None, phase=None)
    yield sample_block(Category.ACTIVATIONS, "output of 1", batch_size * 512, module="1", operator="addmm")
    yield sample_block(Category.ACTIVATIONS, "output of 2", batch_size * 512, module="2", operator="relu")
    yield sample_block(Category.OUTPUT, "output of the model", batch_size * 40, module="3", operator="addmm")
    for phase in (Phase.FORWARD, Phase.BACKWARD):
        yield sample_block(
            Category.WORKSPACE, "cuBLAS workspace", 32 * MIB, module=None, operator="addmm", phase=phase, step=1
        )


def _parts(blocks: Sequence[Block]) -> dict[str, int]:
    """Return the bytes of the blocks by category, and those of rounding."""
    parts: dict[str, int] = {}
    for category in Category:
        size = sum(block.requested_bytes for block in blocks if block.category is category)
        if size:
            parts[category.value] = size
    rounding = sum(block.block_bytes - block.requested_bytes for block in blocks)
    return {**parts, ROUNDING: rounding} if rounding else parts


def _modules(blocks: Sequence[Block], batch_size: int) -> tuple[ModuleRow, ...]:
    rows = (
        ("", "Sequential", 10, 101_770),
        ("0", "Flatten", 784, 0),
        ("1", "Linear", 128, 100_480),
        ("2", "ReLU", 128, 0),
        ("3", "Linear", 10, 1_290),
    )
    return tuple(
        ModuleRow(
            path=path,
            type=name,
            output_shapes=((batch_size, width),),
            parameters=count,
            parts=_parts([b for b in blocks if b.module is not None and path in ("", b.module)]),
        )
        for path, name, width, count in rows
    )


def _peak_context(allocated_bytes: int, phase: Phase, parts: Mapping[str, int]) -> PeakContext:
    return PeakContext(
        allocated_bytes=allocated_bytes, step=2, phase=phase, module="1", operator="mm", parts=dict(parts)
    )


def _timeline(peak_parts: Mapping[str, int]) -> Timeline:
    """Return a timeline with constant parameters and workspaces; the other parts grow and shrink around the peak."""
    lasting = (Category.PARAMETERS, Category.OPTIMIZER_STATE, Category.INPUT, Category.WORKSPACE, ROUNDING)
    positions = tuple(range(0, 40, 2))
    series = {
        name: tuple(size if name in lasting else size * max(0, 10 - abs(place - 10)) // 10 for place in range(20))
        for name, size in peak_parts.items()
    }
    starts = {Phase.ZERO_GRAD: 0, Phase.FORWARD: 4, Phase.LOSS: 14, Phase.BACKWARD: 18, Phase.OPTIMIZER: 32}
    ends = [*list(starts.values())[1:], 40]
    spans = tuple(
        PhaseSpan(phase=phase, start=start, end=end) for (phase, start), end in zip(starts.items(), ends, strict=True)
    )
    return Timeline(step=2, positions=positions, series=series, spans=spans, peak_position=20)


def _breakdown(batch_size: int) -> Breakdown:
    return sample_breakdown(
        parameters_bytes=407_080,
        gradients_bytes=407_080,
        optimizer_state_bytes=2 * 407_080,
        input_bytes=batch_size * 3_144,
        activations_bytes=batch_size * 512,
    )


def _reading(peak: int, requested: int, reserved: int, context: int) -> Reading:
    phases = tuple(
        sample_phase(
            phase,
            peak - below_bytes,
            allocated_before_bytes=peak - 2 * MIB,
            allocated_after_bytes=peak - 2 * MIB,
            peak_requested_bytes=requested - below_bytes,
            peak_reserved_bytes=reserved,
        )
        for phase, below_bytes in ((Phase.FORWARD, MIB), (Phase.BACKWARD, 0), (Phase.OPTIMIZER, MIB))
    )
    return sample_reading(
        steps=(StepReading(phases=phases, seconds=None),) * 2,
        peak_allocated_bytes=peak,
        peak_requested_bytes=requested,
        peak_reserved_bytes=reserved,
        nvml_used_bytes=reserved + context,
        context_bytes=context,
    )


def sample_verification(**changes: Any) -> Verification:
    """Return a real GPU next to its phantom: equal, other blocks, other requests, out of memory on one side."""
    gpu = _figures(1000, 1024, 2 * MIB)
    rows = (
        Row(model="one, batch 8", point="sgd, fp32", gpu=gpu, phantom=gpu),
        Row(model="one, batch 8", point="adam, fp32", gpu=gpu, phantom=_figures(1000, 1536, 2 * MIB)),
        Row(model="two, batch 8", point="sgd, fp32", gpu=gpu, phantom=_figures(900, 1024, 4 * MIB)),
        Row(model="two, batch 8", point="adam, fp32", gpu=gpu, phantom=Figures(status=Status.OOM, error="full")),
    )
    measured = sample_environment(source=Source.MEASURED, gpu="NVIDIA H100 80GB HBM3", driver_version="580.65")
    sides = {"gpu": measured, "phantom": sample_environment(gpu="nvidia-h100-80gb-hbm3")}
    return Verification(**{**sides, "rows": rows, **changes})


def _figures(requested: int, allocated: int, reserved: int) -> Figures:
    return Figures(
        status=Status.OK,
        requested_bytes=requested,
        allocated_bytes=allocated,
        reserved_bytes=reserved,
        workspace_known=True,
    )


# What PyTorch says, whose length a page must cope with.
OUT_OF_MEMORY = (
    "backward of step 2: CUDA out of memory. Tried to allocate 370.00 MiB. GPU 0 has a total capacity of 79.18 GiB of "
    "which 364.94 MiB is free. Including non-PyTorch memory, this process has 78.75 GiB memory in use. Of the "
    "allocated memory 77.84 GiB is allocated by PyTorch, and 456.29 MiB is reserved by PyTorch but unallocated."
)


def sample_trial(batch_size: int, **changes: Any) -> Trial:
    """Return a trial that trains with 100 MiB per sample, with `changes`."""
    trial = Trial(
        batch_size=batch_size,
        status=Status.OK,
        peak_allocated_bytes=batch_size * 100 * MIB,
        peak_reserved_bytes=batch_size * 101 * MIB,
        device_bytes=batch_size * 101 * MIB + GIB,
        seconds=0.2,
        stop=None,
    )
    return replace(trial, **changes)


def sample_max_batch(**changes: Any) -> MaxBatch:
    """Return the answer for a phantom H100 on which batch 600 trains and 601 runs out of memory, with `changes`."""
    failed = sample_trial(601, status=Status.OOM, stop=StopReason.MEMORY, error=OUT_OF_MEMORY)
    answer = MaxBatch(
        gpu="h100-80gb",
        source=Source.EMULATED,
        model="mnist_mlp",
        optimizer="adam",
        gpu_total_bytes=sample_environment().gpu_total_bytes,
        memory_limit_bytes=None,
        multiple_of=1,
        largest_batch_size=600,
        verified=True,
        stopped_by=StopReason.MEMORY,
        batch_size_at_80_percent_memory=480,
        confirmed=Status.OK,
        fit=MemoryFit(fixed_bytes=GIB, bytes_per_sample=100 * MIB, residual_bytes=0),
        free_bytes=MIB,
        smallest_footprint_bytes=None,
        trials=(sample_trial(300), sample_trial(600), failed),
        more_trials=(),
    )
    return replace(answer, **changes)


def sample_config(**changes: Any) -> SweepConfig:
    """Return the config of a sweep of MNIST's MLP, with `changes`."""
    config = {
        "name": "mnist_mlp",
        "model": "mnist_mlp",
        "input": {"shape": [1, 28, 28]},
        "target": {"shape": [], "dtype": "int64", "range": [0, 10]},
        "optimizers": ["sgd", "adam"],
        "batch_sizes": [256, 64],
    }
    return SweepConfig.model_validate({**config, **changes})


def sample_loaded(folder: Path, **changes: Any) -> LoadedConfig:
    """Return `sample_config` as if it had been loaded from a file in `folder`."""
    return LoadedConfig(config=sample_config(**changes), folder=folder, path=folder / "sweep.yaml")
