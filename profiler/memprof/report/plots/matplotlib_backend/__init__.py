"""Plots drawn as PNG and SVG: the only package that imports matplotlib.

No display, backend or setting of the user has an effect; the same plot always gives the same bytes.
"""

import os

# Importing matplotlib fails if MPLBACKEND names an unknown backend, and none is needed to write files.
_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib  # noqa: F401
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend

from memprof.report.plots.matplotlib_backend.files import draw  # noqa: E402

__all__ = ["draw"]
