"""Read the published figures under docs/fidelity/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.csv_rows import read_rows
from memprof.gpus.catalog import find_gpu

FOLDER = Path(__file__).parents[2] / "docs" / "fidelity"
TOOLS = ("xMem", "DNNMem", "SchedTune")  # whose predictions were published with the runs
_TORCHVISION = {
    "ConvNeXtTiny": "convnext_tiny",
    "ConvNeXtBase": "convnext_base",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet101": "resnet101",
    "ResNet152": "resnet152",
    "MobileNetV2": "mobilenet_v2",
    "MobeNetV3Small": "mobilenet_v3_small",
    "MnasNet": "mnasnet1_0",
    "RegNetX400MF": "regnet_x_400mf",
    "RegNetY400MF": "regnet_y_400mf",
}  # by the names of the published file


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the sample; `taken_bytes` is NVML's peak (or level at the OOM) minus its first reading."""

    gpu: str  # "RTX 3060"
    model: str  # as published
    optimizer: str
    batch_size: int
    oom: bool
    taken_bytes: int
    gpu_total_bytes: int
    predictions: tuple[int, ...]  # in the order of TOOLS

    @property
    def available_bytes(self) -> int:
        """The GPU's memory minus a CUDA context, whose size is from the catalog."""
        return self.gpu_total_bytes - find_gpu(self.gpu).context_bytes

    @property
    def torchvision_name(self) -> str:
        """The model's name in torchvision."""
        return _TORCHVISION[self.model]

    @property
    def classes(self) -> int:
        """The number of classes of the run's model."""
        return 10 if self.model.startswith(("MobeNetV3", "MnasNet")) else 1000


@dataclass(frozen=True, kw_only=True)
class LimitedRun:
    """A run of a program with a limit: a fraction of the GPU's memory, of the size that a tool predicted.

    `limit_of` is the tool, or "" if there was no limit. `taken_bytes` is ``None`` if the run ran out of memory
    (`oom`), or if the published figure could be one of two.
    """

    run: Run
    limit_of: str
    fraction: float
    oom: bool
    taken_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A forward convolution with padding 1, and its workspace on a real GPU."""

    gpu: str
    torch: str
    cudnn: str
    dtype: str
    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    workspace_bytes: int


def read_runs(file: Path = FOLDER / "xmem_cnn_sample.csv") -> tuple[Run, ...]:
    """Return the runs of the sample, in the order of the file."""
    return tuple(
        Run(
            gpu=row["gpu"],
            model=row["model"],
            optimizer=row["optimizer"],
            batch_size=int(row["batch"]),
            oom=row["real_oom"] == "1",
            taken_bytes=int(row["nvml_peak_minus_start_bytes"]),
            gpu_total_bytes=int(row["gpu_total_bytes"]),
            predictions=tuple(round(float(row[f"{tool}_pred"])) for tool in TOOLS),
        )
        for row in read_rows(file)
    )


def read_limited(file: Path = FOLDER / "xmem_limits.csv") -> tuple[tuple[LimitedRun, ...], ...]:
    """Return the runs of each program, without a limit first, in the order of the file."""
    runs = {_key(run): run for name in ("xmem_cnn_sample.csv", "xmem_mnasnet.csv") for run in read_runs(FOLDER / name)}
    programs: dict[tuple[str, ...], list[LimitedRun]] = {}
    for row in read_rows(file):
        key = (row["gpu"], row["model"], row["optimizer"], row["batch"])
        limited = LimitedRun(
            run=runs[key],
            limit_of=row["limit_of"],
            fraction=float(row["limit_fraction"] or 1),
            oom=row["oom"] == "1",
            taken_bytes=int(row["nvml_peak_minus_start_bytes"]) if row["nvml_peak_minus_start_bytes"] else None,
        )
        programs.setdefault(key, []).append(limited)
    return tuple(map(tuple, programs.values()))


def _key(run: Run) -> tuple[str, ...]:
    return run.gpu, run.model, run.optimizer, str(run.batch_size)


def read_convolutions(file: Path = FOLDER / "cudnn_workspaces.csv") -> tuple[Convolution, ...]:
    """Return the convolutions, in the order of the file."""
    return tuple(
        Convolution(
            gpu=row["gpu"],
            torch=row["torch"],
            cudnn=row["cudnn"],
            dtype=row["dtype"],
            input_shape=_shape(row["input_shape"]),
            weight_shape=_shape(row["weight_shape"]),
            workspace_bytes=int(row["bytes"]),
        )
        for row in read_rows(file)
    )


def read_attention(file: Path = FOLDER / "attention.csv") -> dict[str, int]:
    """Return the attention's figures by their names."""
    return {row["quantity"]: int(row["bytes"]) for row in read_rows(file)}


def _shape(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))
