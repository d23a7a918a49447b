"""What a training step should take, from shapes and dtypes alone."""

from profiler.analytic.breakdown import break_down
from profiler.analytic.modules import summarize_modules

__all__ = ["break_down", "summarize_modules"]
