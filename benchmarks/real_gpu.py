"""`python -m benchmarks.real_gpu`: a step of every torchvision model on a real GPU and on its phantom, as CSV.

The rows are those of docs/fidelity/*-models.csv. `--model NAME`, which may be repeated, selects models. It needs a real
GPU; `--gpu NAME` names a phantom, for a dry run.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.both_sides import chosen
from benchmarks.campaign import Figures, open_server
from benchmarks.campaign_child import BATCH, family

COLUMNS = (
    "family", "model", "batch_size", "measured_requested_bytes", "emulated_requested_bytes",
    "measured_allocated_bytes", "emulated_allocated_bytes", "measured_reserved_bytes", "emulated_reserved_bytes",
    "gpu", "versions", "seed", "measured_image_sizes", "emulated_image_sizes",
)  # fmt: skip


def compare(
    real: Mapping[str, str], phantom: Mapping[str, str], selected: Sequence[str] = ()
) -> Iterator[tuple[object, ...]]:
    """Yield the row of each model, from a server with the environment `real` and one with `phantom`.

    A model that fails on one of them has no row, and a line on stderr.
    """
    with open_server(real) as first, open_server(phantom) as second:
        about = first.run("about", "gpu")
        for model in selected or first.models:
            sides = first.run("step", model), second.run("step", model)
            if failed := [side for side in sides if "peak_bytes" not in side]:
                print(f"{model}: {failed[0]}", file=sys.stderr)
                continue
            yield family(model), model, BATCH, *_figures(sides), about["gpu"], about["versions"], *_inputs(sides)


def _figures(sides: Sequence[Figures]) -> Iterator[int]:
    for name in ("requested_bytes", "peak_bytes", "reserved_bytes"):
        yield from (side[name] for side in sides)


def _inputs(sides: Sequence[Figures]) -> Iterator[object]:
    """Yield the seed, and the sizes to which a detection model resized its images, which it may draw."""
    yield sides[0]["seed"]
    yield from (side["image_sizes"] for side in sides)


def main() -> int:
    """Print the rows; the exit status is 4 without a real GPU."""
    sides = chosen("real_gpu", __doc__)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(COLUMNS)
    for row in compare(sides.gpu.environment, sides.phantom.environment, sides.models):
        rows.writerow(row)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
