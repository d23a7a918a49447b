"""Libraries of fine-tuning are imported before the fork, and the children can still use CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
import torch
from memprof.worker.finetuning_imports import cuda_answered_by_nvml

before = torch.cuda.is_available
with cuda_answered_by_nvml():
    {ask}
assert torch.cuda.is_available is before
if os.fork() == 0:
    print("bad" if torch.cuda._is_in_bad_fork() else torch.ones(2, device="cuda").device, flush=True)
    os._exit(0)
os.wait()
"""


def test_nvml_answers_without_spoiling_the_fork(run_on_phantom: Callable[..., Any]) -> None:
    ask = "print(torch.cuda.is_available(), torch.cuda.device_count(), torch.cuda.get_device_capability(0))"
    done = run_on_phantom(FORKED.format(ask=ask), gpu="rtx-4090")
    assert done.stdout.splitlines() == ["True 1 (8, 9)", "cuda:0"], done.stderr


@pytest.mark.parametrize("package", ["peft", "bitsandbytes"])
def test_import_leaves_cuda_to_the_children(run_on_phantom: Callable[..., Any], package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed (the extra is `hub`)")
    done = run_on_phantom(FORKED.format(ask=f"import {package}"), gpu="rtx-4090")
    assert done.stdout.splitlines()[-1:] == ["cuda:0"], done.stderr
