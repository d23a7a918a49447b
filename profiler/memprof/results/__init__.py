"""Results on disk and back: a folder for each, with a manifest that says of which kind it is.

A sweep or a comparison has a JSON line and a CSV row for each point: `records.jsonl` is the truth, written line by line
as the points come; `results.csv` is made from it. An answer of another kind is one document, `answer.json`.
"""

from memprof.results.document import load_answer, save_answer
from memprof.results.folder import ResultFolder, find_unfinished
from memprof.results.load import Result, load, load_alike
from memprof.results.rows import COLUMNS, VARIANT_COLUMNS, Cell, columns_of, row, to_csv, to_json
from memprof.results.serialize import ROW_KINDS, Kind, Manifest, VariantPlan, fingerprint, from_line, to_line, utc_now

__all__ = [
    "COLUMNS",
    "ROW_KINDS",
    "VARIANT_COLUMNS",
    "Cell",
    "Kind",
    "Manifest",
    "Result",
    "ResultFolder",
    "VariantPlan",
    "columns_of",
    "find_unfinished",
    "fingerprint",
    "from_line",
    "load",
    "load_alike",
    "load_answer",
    "row",
    "save_answer",
    "to_csv",
    "to_json",
    "to_line",
    "utc_now",
]
