"""The files that the training loop of a config needs, without torch, so that a missing one is reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from memprof.config.schema import SweepConfig
from memprof.config.yaml_lines import KeyPath
from memprof.errors import did_you_mean


def missing_files(config: SweepConfig, folder: Path) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key of each file that does not exist, and what is wrong; paths are relative to `folder`."""
    checkpoint = config.resume.checkpoint if config.resume else None
    if checkpoint is not None and not (folder / checkpoint).is_file():
        place = (folder / checkpoint).parent
        near = did_you_mean(Path(checkpoint).name, [file.name for file in place.glob("*.pt*")])
        hint = near or "; write resume: true to let memprof save one"
        yield ("resume", "checkpoint"), f"no file {checkpoint} in {folder}{hint}"
