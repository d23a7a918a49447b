"""Ask a child process what would complete a config whose model memprof does not know. No torch here."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from memprof.config.load import IncompleteConfigError
from memprof.errors import MemprofError, WorkloadError
from memprof.gpus.python_path import child_python_path

_LIMIT_SECONDS = 120


def with_proposal(error: IncompleteConfigError) -> MemprofError:
    """Return the error to report: with options that would complete the config, or that the model cannot be built."""
    asked = json.dumps({"settings": error.settings, "folder": str(error.folder)})
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "memprof.workload.propose"],
            input=asked,
            env={**os.environ, "PYTHONPATH": child_python_path()},
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=True,
        )
        reply = json.loads(child.stdout)
    except (OSError, ValueError, RecursionError, subprocess.SubprocessError):
        return error
    if "error" in reply:
        return WorkloadError(reply["error"])
    found = reply["proposal"]
    if found is None:
        return error
    missing = str(error).partition(";")[0]
    layer = f", since its layer {found['layer']}" if found["layer"] else ""
    text = f"{missing}; add {'' if found['ran'] else 'for example '}{found['options']}{layer}"
    return type(error)(text, error.settings, error.folder)
