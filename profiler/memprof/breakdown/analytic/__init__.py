"""What a training step should take, from shapes and dtypes alone."""

from memprof.breakdown.analytic.breakdown import break_down
from memprof.breakdown.analytic.modules import summarize_modules

__all__ = ["break_down", "summarize_modules"]
