"""What a training step should take, from shapes and dtypes alone."""

from profiler.analytic.breakdown import break_down

__all__ = ["break_down"]
