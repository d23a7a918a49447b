"""Compare whole commands with the imports that they cannot avoid."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

from benchmarks.results import Figure
from benchmarks.timing import IMPORTS, interleaved, run_python

GPU = "h100-80gb"
RESNET50_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


def mnist_mlp_sweep(repeats: int) -> Iterator[Figure]:
    """Compare a sweep of 15 points (3 optimizers, 5 batch sizes) with importing PyTorch."""
    yield _compare_with_imports("sweep of mnist_mlp, 15 points", _sweep("mnist_mlp"), 2.0, repeats)


def warm_sweep(repeats: int) -> Iterator[Figure]:
    """Compare the sweep of 15 points with importing PyTorch while `memprof serve` keeps PyTorch imported."""
    run_python(["-m", "memprof", "serve", "--gpu", GPU])
    try:
        yield _compare_with_imports("the same after memprof serve", _sweep("mnist_mlp"), 0.25, repeats)
    finally:
        run_python(["-m", "memprof", "serve", "--stop"])


def resnet50_sweep(repeats: int) -> Iterator[Figure]:
    """Compare a sweep of eight batch sizes with Adam with importing PyTorch."""
    sizes = [text for size in RESNET50_SIZES for text in ("--batch-size", str(size))]
    subject = _sweep("resnet50", "--optimizer", "adam", *sizes)
    yield _compare_with_imports("sweep of ResNet-50, 8 points", subject, 5.0, repeats)


def help_text(repeats: int) -> Iterator[Figure]:
    """Time `memprof --help` in seconds; also show the ratio to importing its command-line library."""
    subjects = _python("-m", "memprof", "--help"), _python("-c", "import typer")
    ours, typer = interleaved(subjects, 5 * repeats)
    against = f"{typer:.3f} s for import typer ({ours / typer:.2f} x)"
    yield Figure(name="memprof --help", memprof=f"{ours:.3f} s", baseline=against, value=ours, goal=0.25, unit="s")


def _compare_with_imports(name: str, subject: Callable[[], float], goal: float, repeats: int) -> Figure:
    ours, imports = interleaved((subject, _python(*IMPORTS)), repeats)
    against = f"{imports:.2f} s for import torch, torchvision"
    return Figure(name=name, memprof=f"{ours:.2f} s", baseline=against, value=ours / imports, goal=goal)


def _sweep(config: str, *options: str) -> Callable[[], float]:
    def run() -> float:
        with tempfile.TemporaryDirectory(prefix="memprof-benchmark-") as folder:
            where = ("--gpu", GPU, "--output-dir", folder)
            return run_python(["-m", "memprof", "sweep", f"configs/{config}.yaml", *where, *options]).seconds

    return run


def _python(*arguments: str) -> Callable[[], float]:
    return lambda: run_python(arguments).seconds
