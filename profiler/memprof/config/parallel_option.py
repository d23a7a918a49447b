"""The options `--parallel` and `--world-size`: how many ranks share what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from memprof.config.parallel import MeshConfig
from memprof.errors import ConfigError, did_you_mean

_DIMENSIONS = tuple(MeshConfig.model_fields)


def parse_mesh(text: str) -> dict[str, int]:
    """Return the dimensions in ``shard=8,tensor=8``.

    Raises:
        ConfigError: one is not ``NAME=COUNT``, is unknown, or is there twice.
    """
    mesh: dict[str, int] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\w+)\s*=\s*(\d+)\s*", part)
        if found is None:
            raise ConfigError(f"--parallel {text:.60}: {part!r:.40} is not NAME=COUNT; write for example shard=8")
        name = found[1]
        if name not in _DIMENSIONS:
            hint = did_you_mean(name, _DIMENSIONS) or f"; the dimensions are {', '.join(_DIMENSIONS)}"
            raise ConfigError(f"--parallel {text:.60}: there is no dimension {name!r:.40}{hint}")
        if name in mesh:
            raise ConfigError(f"--parallel {text:.60}: {name} is there twice")
        mesh[name] = int(found[2])
    return mesh


def mesh_of_world(mesh: Any, world_size: int) -> dict[str, int]:
    """Return `mesh` with `world_size` ranks: those that its other dimensions do not name are in shard.

    Raises:
        ConfigError: the other dimensions do not divide `world_size`.
    """
    others = {name: size for name, size in _sizes(mesh).items() if name != "shard"}
    product = prod(others.values())
    if world_size < 1 or product < 1 or world_size % product:
        named = " × ".join(f"{name} {size}" for name, size in others.items()) or "a rank"
        raise ConfigError(f"--world-size {world_size}: not a multiple of the {product} ranks of {named}")
    return {**others, "shard": world_size // product}


def _sizes(mesh: Any) -> Mapping[str, int]:
    """Return the valid dimensions of a mesh as a file writes it; validation reports the others."""
    sizes = mesh if isinstance(mesh, Mapping) else {}
    return {name: size for name, size in sizes.items() if name in _DIMENSIONS and type(size) is int}
