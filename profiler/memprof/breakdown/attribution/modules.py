"""The parts at the peak, module by module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from memprof.breakdown.attribution.annotations import Annotations, ModuleInfo
from memprof.breakdown.explanation import ROUNDING, Block, ModuleRow, Parts


def module_rows(blocks: Iterable[Block], annotations: Annotations) -> tuple[tuple[ModuleRow, ...], Parts]:
    """Return a row for each module, which includes its submodules, and the parts of the blocks outside modules."""
    sums: dict[str, Counter[str]] = {module.path: Counter() for module in annotations.modules}
    outside: Counter[str] = Counter()
    for block in blocks:
        parts = {block.category.value: block.requested_bytes, ROUNDING: block.block_bytes - block.requested_bytes}
        owners = [sums[path] for path in _with_parents(block.module) if path in sums]
        for owner in owners or [outside]:
            owner.update({name: count for name, count in parts.items() if count})
    return tuple(_row(module, sums[module.path], annotations) for module in annotations.modules), dict(outside)


def _row(module: ModuleInfo, parts: Counter[str], annotations: Annotations) -> ModuleRow:
    return ModuleRow(
        path=module.path,
        type=module.type,
        output_shapes=annotations.output_shapes.get(module.path, ()),
        parameters=module.parameters,
        parts=dict(parts),
    )


def _with_parents(path: str | None) -> list[str]:
    """Return the path of a module and those of the modules that contain it, up to the model itself, ``""``."""
    if path is None:
        return []
    names = path.split(".") if path else []
    return [".".join(names[:count]) for count in range(len(names), -1, -1)]
