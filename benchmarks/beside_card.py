"""`python -m benchmarks.beside_card`: the step of every torchvision model on a real GPU and on its phantom, as CSV.

The rows are those of docs/fidelity/*-models.csv. `--model NAME`, repeated, takes some of them. It needs a real GPU.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.campaign import Answer, server
from benchmarks.campaign_child import BATCH, family
from memprof.errors import DeviceError
from memprof.experiments.verify import phantom_of
from memprof.gpus.select import choose_device

COLUMNS = (
    "family", "model", "batch_size", "measured_requested_bytes", "emulated_requested_bytes",
    "measured_allocated_bytes", "emulated_allocated_bytes", "measured_reserved_bytes", "emulated_reserved_bytes",
)  # fmt: skip


def beside(
    card: Mapping[str, str], phantom: Mapping[str, str], asked: Sequence[str] = ()
) -> Iterator[tuple[object, ...]]:
    """Yield the row of each model, from a server with the environment `card` and one with `phantom`.

    A model that does not go through on one of them has no row, and a line on stderr.
    """
    with server(card) as first, server(phantom) as second:
        for model in asked or first.models:
            sides = first.ask("step", model), second.ask("step", model)
            if wrong := [side for side in sides if "peak_bytes" not in side]:
                print(f"{model}: {wrong[0]}", file=sys.stderr)
                continue
            yield family(model), model, BATCH, *_figures(sides)


def _figures(sides: Sequence[Answer]) -> Iterator[int]:
    for name in ("requested_bytes", "peak_bytes", "reserved_bytes"):
        yield from (side[name] for side in sides)


def main() -> int:
    """Print the rows; the exit status is 4 without a real GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_card", description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME")
    asked = parser.parse_args().model
    try:
        card = choose_device("cuda:0")
        phantom = phantom_of(card).environment
    except DeviceError as error:
        print(f"beside_card: {error}", file=sys.stderr)
        return 4
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(beside({}, phantom, asked))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
