"""The parts at one moment, module by module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from memprof.breakdown.attribution.annotations import Annotations, ModuleNote
from memprof.breakdown.explanation import ROUNDING, Block, ModuleRow, Parts


def module_rows(blocks: Iterable[Block], notes: Annotations) -> tuple[tuple[ModuleRow, ...], Parts]:
    """Return a row for each module, its submodules included, and the parts of the blocks that belong to none."""
    sums: dict[str, Counter[str]] = {module.path: Counter() for module in notes.modules}
    outside: Counter[str] = Counter()
    for block in blocks:
        parts = {block.category.value: block.requested_bytes, ROUNDING: block.block_bytes - block.requested_bytes}
        owners = [sums[path] for path in _upwards(block.module) if path in sums]
        for owner in owners or [outside]:
            owner.update({name: count for name, count in parts.items() if count})
    return tuple(_row(module, sums[module.path], notes) for module in notes.modules), dict(outside)


def _row(module: ModuleNote, parts: Counter[str], notes: Annotations) -> ModuleRow:
    return ModuleRow(
        path=module.path,
        type=module.type,
        output_shapes=notes.output_shapes.get(module.path, ()),
        parameters=module.parameters,
        parts=dict(parts),
    )


def _upwards(path: str | None) -> list[str]:
    """The module and those that it is in, up to the model itself, ``""``."""
    if path is None:
        return []
    names = path.split(".") if path else []
    return [".".join(names[:count]) for count in range(len(names), -1, -1)]
