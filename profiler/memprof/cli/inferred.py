"""One line about what memprof inferred for a model that was named instead of a config file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memprof.cli.console import note
from memprof.config.input_option import write_tensor
from memprof.config.load import LoadedConfig
from memprof.config.names import origin_of
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.config.tensors import TensorConfig
from memprof.worker.protocol import Point

_MOST_SHOWN = 3


def note_inferred(loaded: LoadedConfig, points: Sequence[Point | OptimizerConfig | None]) -> None:
    """Print what no option gave of the input, loss, and the optimizers and batch sizes in `points`.

    Nothing is printed if there is a config file.
    """
    if text := describe_inferred(loaded, points):
        note(text)


def describe_inferred(loaded: LoadedConfig, points: Sequence[Point | OptimizerConfig | None]) -> str:
    """Return the inferred values in one line: ``input 3x224x224 from torchvision's metadata; sgd; cross_entropy``."""
    if loaded.has_file:
        return ""
    config, parts = loaded.config, list[str]()
    if "input" in loaded.inferred:
        parts.append(f"input {_input(config)} from {origin_of(config.model.name)}")
    optimizers = [point[0] if isinstance(point, tuple) else point for point in points]
    if "optimizers" in loaded.inferred and config.mode is Mode.TRAIN:
        parts.append(" and ".join(dict.fromkeys(optimizer.label for optimizer in optimizers if optimizer)))
    if "loss" in loaded.inferred and config.mode is Mode.TRAIN:
        parts.append("the model's own loss" if config.loss.name == "output" else config.loss.name)
    sizes = sorted({point[1] for point in points if isinstance(point, tuple)})
    if sizes and "batch_sizes" in loaded.inferred:
        parts.append(f"batch {sizes[0]:,}" if len(sizes) == 1 else f"batches {sizes[0]:,} to {sizes[-1]:,}")
    return "; ".join(parts)


def _input(config: SweepConfig) -> str:
    given = config.input
    named = list(given.items()) if isinstance(given, Mapping) else [("", part) for part in given]
    texts = [_tensor(name, part, config.sizes) for name, part in named]
    return ", ".join(texts[:_MOST_SHOWN]) + (", …" if len(texts) > _MOST_SHOWN else "")


def _tensor(name: str, part: object, sizes: Mapping[str, int]) -> str:
    shape = write_tensor(part.resolved(sizes)) if isinstance(part, TensorConfig) else "…"
    return f"{name}={shape}" if name else shape
