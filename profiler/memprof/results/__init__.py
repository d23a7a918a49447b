"""Save results to disk and load them: one folder per run, with a manifest that names the kind of result.

A sweep or a comparison has one JSON line and one CSV row per point. `records.jsonl` is the source of truth and grows
while the points finish; `results.csv` is derived from it. The other kinds save one document, `result.json`.
"""

from memprof.results.document import load_document, save_document
from memprof.results.folder import ResultFolder, find_unfinished
from memprof.results.load import Result, load, load_pair
from memprof.results.new_folder import check_output_folder
from memprof.results.rows import (
    COLUMNS,
    VARIANT_COLUMNS,
    Cell,
    RowName,
    columns_of,
    name_of,
    row,
    to_csv,
    to_json,
)
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
    "RowName",
    "VariantPlan",
    "check_output_folder",
    "columns_of",
    "find_unfinished",
    "fingerprint",
    "from_line",
    "load",
    "load_document",
    "load_pair",
    "name_of",
    "row",
    "save_document",
    "to_csv",
    "to_json",
    "to_line",
    "utc_now",
]
