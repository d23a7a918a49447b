"""`python -m benchmarks.real_loops`: is the largest batch of `max-batch` that of a plain training script?

For each model and GPU, `memprof max-batch` finds N. Then a script that does not know memprof (`plain_loop.py`) trains
under `memprof run` with N, and with N + 1. The answer is exact if the first run trains and the second one runs out of
memory. The figures go to real_loops.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.plain_loop import OUT_OF_MEMORY, STEPS

_LARGE = ("rtx-4090", "a100-40gb", "h100-80gb")
CASES: Mapping[str, tuple[str, Sequence[str]]] = {
    "gpt2": ("hub/gpt2", _LARGE),
    "bert_base": ("hub/bert_base", _LARGE),
    "llama_3.2_1b": ("hub/llama_3.2_1b", _LARGE),
    "resnet18": ("resnet18", ("t4",)),
    "resnet50": ("resnet50", ("t4", "rtx-4090")),
    "vit_b_16": ("vit_b_16", ("t4", "a100-40gb")),
    "vit_l_16": ("hub/vit_l_16", ("rtx-4090",)),
}
PAGE = Path(__file__).with_name("real_loops.md")
_RESULTS = {0: "trains", OUT_OF_MEMORY: "out of memory"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model on one GPU: memprof's largest batch, and how the script ended with it and with one sample more."""

    model: str
    gpu: str
    largest: int
    at_largest: str
    above: str

    @property
    def is_exact(self) -> bool:
        """Whether the script trains at the largest batch and not above it."""
        return (self.at_largest, self.above) == ("trains", "out of memory")


def main() -> int:
    """Run the selected cases, print each row and write the page; the exit status is 1 if one is not exact."""
    arguments = _arguments()
    rows = []
    for model in arguments.only or CASES:
        for row in compare(model):
            print(
                f"{row.model} on {row.gpu}: {row.largest} {row.at_largest}, {row.largest + 1} {row.above}", flush=True
            )
            rows.append(row)
    if arguments.output or not arguments.only:
        (arguments.output or PAGE).write_text(page(rows), encoding="utf-8")
    return 0 if all(row.is_exact for row in rows) else 1


def compare(model: str) -> Iterator[Row]:
    """Yield the row of each GPU of a model."""
    config, gpus = CASES[model]
    for gpu in gpus:
        largest = find_largest(config, gpu)
        yield Row(
            model=model,
            gpu=gpu,
            largest=largest,
            at_largest=_run(model, largest, gpu),
            above=_run(model, largest + 1, gpu),
        )


def find_largest(config: str, gpu: str, *more: str) -> int:
    """Return the largest batch that `memprof max-batch` finds, with `more` options."""
    with tempfile.TemporaryDirectory(prefix="memprof-benchmark-") as folder:
        options = ("--gpu", gpu, *more, "--json", "--output-dir", folder)
        finished = _memprof("max-batch", f"configs/{config}.yaml", *options)
    finished.check_returncode()
    return int(json.loads(finished.stdout)["largest_batch_size"])


def _run(model: str, batch_size: int, gpu: str) -> str:
    script = (sys.executable, "-m", "benchmarks.plain_loop", model, str(batch_size))
    finished = _memprof("run", "--gpu", gpu, "--", *script)
    return _RESULTS.get(finished.returncode, f"exit status {finished.returncode}")


def _memprof(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memprof", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def page(rows: Sequence[Row]) -> str:
    """Return the committed page."""
    exact = sum(row.is_exact for row in rows)
    lines = [
        "# Real loops",
        "",
        *describe_machine(),
        "",
        f"`memprof max-batch` and a plain script with a DataLoader, {STEPS} steps: "
        f"{exact} of {len(rows)} answers are exact.",
        "All figures are emulated. `python -m benchmarks.real_loops` measures them again.",
        "",
        "| model | GPU | largest batch | the script with it | with one sample more | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        verdict = "exact" if row.is_exact else "differs"
        lines.append(
            f"| {row.model} | {row.gpu} | {row.largest:,} | {row.at_largest} "
            f"| {row.largest + 1:,}: {row.above} | {verdict} |"
        )
    return "\n".join([*lines, ""])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=CASES, help="only this model; repeatable")
    parser.add_argument("--output", type=Path, help="write the page there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
