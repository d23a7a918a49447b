"""The record of `memprof verify`, saved again after each test case: `--gpu NAME FOLDER`."""

from __future__ import annotations

import argparse
from json import dumps
from pathlib import Path

from memprof.experiments.verify import Verification, file_name, phantom_of, to_json, verify, verify_cases
from memprof.gpus.select import choose_device
from memprof.results.files import replace_file


def main() -> None:
    """Run the test cases on the GPU and on its phantom, and print each with its difference in bytes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", required=True)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    gpu = choose_device(options.gpu)
    sides, rows = verify(gpu, phantom_of(gpu), verify_cases())
    done = []
    for row in rows:
        done.append(row)
        found = Verification(gpu=sides[0], phantom=sides[1], rows=tuple(done))
        replace_file(options.folder / file_name(found), dumps(to_json(found), indent=2) + "\n")
        print(row.model, row.point, row.gpu.status.value, row.difference_bytes("allocated"))


if __name__ == "__main__":
    main()
