"""Pictures drawn as PNG and SVG: the only door to matplotlib.

No display, backend or setting of the user takes part, and the same picture is always the same bytes.
"""

import os

# matplotlib refuses to be imported under a backend that it does not know, and none is needed: files are written.
_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib  # noqa: F401
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend

from memprof.report.plots.matplotlib_backend.files import draw  # noqa: E402

__all__ = ["draw"]
