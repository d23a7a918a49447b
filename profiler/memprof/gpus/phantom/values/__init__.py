"""Values for a phantom: the CPU computes what operators would compute, where a program needs it."""

from .link import is_phantom
from .mode import Cost, host_values
from .process import compute_until_exit
from .routing import ExpertRouting

__all__ = ["Cost", "ExpertRouting", "compute_until_exit", "host_values", "is_phantom"]
