"""The analytic estimate: the memory of a training step, from shapes and dtypes."""

from memprof.breakdown.analytic.breakdown import break_down
from memprof.breakdown.analytic.modules import summarize_modules

__all__ = ["break_down", "summarize_modules"]
