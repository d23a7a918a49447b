"""cuDNN looks cuBLASLt's functions up by name and gets the phantom's; other look-ups are untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memprof.gpus.phantom.build import PhantomLibraries, find_compiler
from tests.gpus.phantom.conftest import Figures

# Batch, input and output channels, side, kernel and stride of 1x1 convolutions whose weight gradient is at the peak of
# a model's step, and the workspace that a real H200 then had with cuDNN 9.19: DenseNet-121 and ResNeXt-50 (32x4d), see
# docs/fidelity. It holds the gradient of each image.
MEASURED = {(2, 1024, 512, 14, 1, 1): 4_194_304, (2, 1024, 1024, 14, 1, 1): 8_388_608}

# A library that counts calls of getpid and passes them on to the next library, as many tools do.
PASSES_ON = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int calls;

pid_t getpid(void) {
    pid_t (*next)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "getpid");
    return ++calls > 1000 ? -1 : next();
}
"""


@pytest.fixture(scope="module")
def pointwise(figures: Figures) -> Mapping[str, Any]:
    return figures("gradients.py", json.dumps(list(MEASURED)), gpu="h200")


def test_pointwise_convolutions_take_the_workspaces_of_a_real_gpu(pointwise: Mapping[str, Any]) -> None:
    forward, _, weight = zip(*pointwise["workspaces"], strict=True)
    assert list(weight) == list(MEASURED.values())
    assert forward == (0, 0)


def test_none_of_their_workspaces_is_unknown(pointwise: Mapping[str, Any]) -> None:
    assert pointwise["unknown"] == 0


def test_a_library_still_finds_the_next_function_of_a_name(phantom_libraries: PhantomLibraries, tmp_path: Path) -> None:
    source, library = tmp_path / "passes_on.c", tmp_path / "passes_on.so"
    source.write_text(PASSES_ON)
    subprocess.run([*find_compiler(), "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    program = f"import ctypes; print(ctypes.CDLL({str(library)!r}).getpid())"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "LD_PRELOAD": f"{phantom_libraries.preload}:{library}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert int(printed) == process.pid
