"""Pairs of ranks, of which one goes another way in the middle: how each process ends, and what it wrote to stderr."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
import warnings

import torch
import torch.distributed as dist

from tests.gpus.phantom.workloads.forked import run_ranks

CASES = ("dies", "never calls", "other call", "other size", "same GPU")
ENDS_WITH, SLEEPS_SECONDS = 7, 8


def one_rank(case: str) -> None:
    rank = int(os.environ["RANK"])
    torch.cuda.set_device(0 if case == "same GPU" else rank)
    dist.init_process_group("nccl")
    x = torch.ones(4, device="cuda")
    dist.all_reduce(x)
    if rank == 1:
        if case == "dies":
            os._exit(ENDS_WITH)
        if case == "never calls":
            time.sleep(SLEEPS_SECONDS)
            os._exit(ENDS_WITH)
        if case == "other call":
            dist.broadcast(x, src=0)
        if case == "other size":
            dist.all_reduce(x[:2])
    else:
        dist.all_reduce(x)
    torch.cuda.synchronize()


def statuses_and_errors(case: str) -> tuple[list[int], str]:
    own = os.dup(2)
    with tempfile.TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 2)
        statuses = run_ranks(2, functools.partial(one_rank, case))
        os.dup2(own, 2)
        file.seek(0)
        return statuses, file.read()


warnings.simplefilter("ignore")
print(json.dumps({case: statuses_and_errors(case) for case in CASES}))
