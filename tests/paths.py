"""Where the tests find the project's files, whatever folder a test lies in."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PACKAGE = ROOT / "profiler" / "memprof"
WORKLOADS = ROOT / "tests" / "gpus" / "phantom" / "workloads"  # scripts that run on a phantom
