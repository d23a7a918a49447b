"""Records on disk and back: a folder a sweep, with a JSON line and a CSV row for each point.

`records.jsonl` is the truth, written line by line as the points come; `results.csv` is made from it.
"""

from profiler.results.folder import ResultFolder, find_unfinished
from profiler.results.lines import Manifest, fingerprint, from_line, to_line, utc_now
from profiler.results.rows import COLUMNS, Cell, row, to_csv, to_json
from profiler.results.saved import Result, load

__all__ = [
    "COLUMNS",
    "Cell",
    "Manifest",
    "Result",
    "ResultFolder",
    "find_unfinished",
    "fingerprint",
    "from_line",
    "load",
    "row",
    "to_csv",
    "to_json",
    "to_line",
    "utc_now",
]
