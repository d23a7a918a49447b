"""The programs of an H200's records in docs/fidelity: some configs of `configs` have changed since."""

from __future__ import annotations

from pathlib import Path

LOOP = {"batch": "resident", "steps": 3}  # three steps trained on one batch, which stayed on the GPU


def config_of(model: str) -> Path:
    """Return the config that a model of transformers or timm was recorded with: one of this folder, or of `configs`."""
    recorded = Path(__file__).with_name(f"{model}.yaml")
    return recorded if recorded.exists() else Path("configs", "hub", f"{model}.yaml")
