"""NVML's figures for the device that CUDA uses, and nothing if NVML has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

Script = Callable[..., "CompletedProcess[str]"]

FIGURES = """
import json, sys
import torch
from memprof.gpus.nvml import open_nvml

held = torch.empty(300 * 2**20, dtype=torch.uint8, device="cuda")
nvml = open_nvml(torch.cuda.get_device_properties(0))
free, total = torch.cuda.mem_get_info()
reserved = torch.cuda.memory_reserved()
print(json.dumps([nvml.used_bytes(), nvml.own_bytes(), nvml.driver_version(), total - free, reserved]))
"""

ABSENT = """
import sys
sys.modules["pynvml"] = None
import torch
from memprof.gpus.nvml import open_nvml
print(open_nvml(torch.cuda.get_device_properties(0)))
"""


def test_nvml_agrees_with_cudas_own_memory_info(run_on_phantom: Script) -> None:
    finished = run_on_phantom(FIGURES)
    assert finished.returncode == 0, finished.stderr
    used, own, driver, taken, reserved = json.loads(finished.stdout)
    assert used == own == taken > reserved >= 300 * 2**20
    assert driver


def test_without_pynvml_there_is_no_nvml(run_on_phantom: Script) -> None:
    finished = run_on_phantom(ABSENT)
    assert finished.stdout == "None\n", finished.stderr
