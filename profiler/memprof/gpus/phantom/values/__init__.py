"""Values for a phantom: the CPU computes what operators would compute, where a program needs it."""

from .link import is_phantom
from .mode import Cost, host_values

__all__ = ["Cost", "host_values", "is_phantom"]
