"""A program that writes results under every fault, and checks what is left.

It is started with the library of `injection.py`. Each case runs in a forked process, so that it takes milliseconds. The
argument is a folder to write in. It prints a JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from memprof.errors import ResultError
from memprof.results import Kind, ResultFolder, check_output_folder, find_unfinished, load, save_document
from memprof.results.files import replace_file
from memprof.results.load import MANIFEST_FILE, find_runs
from tests.reliability.faults.injection import Fault, Injector, faults_of
from tests.samples import sample_manifest, sample_record

SIZES = (64, 256, 1024)
OLDER = "the older text"
EARLIER = ".manifest.json.1.new"  # what a run that was killed has left
_REFUSED, _WRONG = 5, 9


def sweep(root: Path) -> None:
    """Save three rows as `memprof sweep` does, or the rest of them."""
    folder = find_unfinished(root, "mnist_mlp", "abc")
    done = [record.batch_size for record in folder.records] if folder else []
    with folder or ResultFolder.create(root, sample_manifest()) as running:
        for size in SIZES[len(done) :]:
            running.append(sample_record(batch_size=size))
        running.finish()


def document(root: Path) -> None:
    """Save one document, as `memprof explain` and `memprof max-batch` do."""
    save_document(root, sample_manifest(kind=Kind.EXPLAIN), {"answer": 1})


def replaced(root: Path) -> None:
    """Replace a file of the user's, as `memprof report` and `memprof plot` do."""
    try:
        replace_file(root / "report.html", "the new text")
    except OSError as error:
        raise ResultError(str(error)) from None


def checked(root: Path) -> None:
    """Check a folder that is not there, as every command does before it measures."""
    check_output_folder(root / "a" / "b")


def prepare_nothing(root: Path) -> None:
    root.mkdir()


def prepare_unfinished(root: Path) -> None:
    """A sweep that was killed after its first row and a part of the second."""
    with ResultFolder.create(root, sample_manifest()) as folder:
        folder.append(sample_record(batch_size=SIZES[0]))
    with (folder.path / "records.jsonl").open("a") as file:
        file.write('{"schema_version": 2, "model": "mn')
    (folder.path / EARLIER).write_text("{")


def prepare_older(root: Path) -> None:
    root.mkdir()
    (root / "report.html").write_text(OLDER)


_MAKES_RESULT = ("a new sweep", "a resumed sweep", "a document")
Scenario = tuple[Callable[[Path], None], Callable[[Path], None]]  # what is there before, and what writes
SCENARIOS: Mapping[str, Scenario] = {
    "a new sweep": (prepare_nothing, sweep),
    "a resumed sweep": (prepare_unfinished, sweep),
    "a document": (prepare_nothing, document),
    "a replaced file": (prepare_older, replaced),
    "a check before a run": (prepare_nothing, checked),
}


def problems_of(name: str, root: Path, status: int) -> Iterator[str]:
    """Yield what is wrong after a case: a lost or doubled row, a result that is not whole, something left over."""
    if status not in (0, _REFUSED):
        yield f"ended with {status}"
    yield from (f"left {path.relative_to(root)}" for path in _left_over(root))
    runs = [path for path in root.glob("*/*") if path.is_dir()]
    yield from (f"left {path} without a manifest" for path in runs if not (path / MANIFEST_FILE).exists())
    if name == "a replaced file":
        text = (root / "report.html").read_text()
        if text != ("the new text" if status == 0 else OLDER):
            yield f"report.html holds {text!r}"
    elif name == "a check before a run" and list(root.iterdir()):
        yield "the check left something"
    results = [load(run, kinds=tuple(Kind)) for run in find_runs(root / "mnist_mlp")]
    if status == 0 and name in _MAKES_RESULT and not any(saved.manifest.complete for saved in results):
        yield "no result is complete after status 0"
    for saved in results:
        sizes = [record.batch_size for record in saved.records]
        wanted = list(SIZES) if saved.manifest.complete else list(SIZES[: len(sizes)])
        if saved.manifest.kind is Kind.SWEEP and sizes != wanted:
            yield f"rows {sizes}"


def _left_over(root: Path) -> list[Path]:
    """The temporary files, without that of an earlier run which waits to be resumed."""
    found = [path for path in root.rglob("*") if path.name.endswith(".new") or path.name.startswith(".check-")]
    return [path for path in found if path.name != EARLIER or load(path.parent).manifest.complete]


def run_case(name: str, root: Path, injector: Injector, fault: Fault | None) -> tuple[int, list[str]]:
    """Run one scenario under a fault; return its calls, and what is wrong then and after the same without a fault."""
    prepare, write = SCENARIOS[name]
    shutil.rmtree(root, ignore_errors=True)
    prepare(root)
    injector.arm(fault)
    status = _in_child(write, root)
    calls = injector.calls
    injector.arm(None)
    found = list(problems_of(name, root, status))
    again = _in_child(write, root)
    found += [f"again: {problem}" for problem in problems_of(name, root, again)]
    return calls, found if again == 0 else [*found, f"again: ended with {again}"]


def _in_child(write: Callable[[Path], None], root: Path) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = _WRONG
    try:
        write(root)
        status = 0
    except ResultError as error:
        status = _REFUSED if "\n" not in str(error) else _WRONG
    finally:
        os._exit(status)


def main(folder: Path) -> None:
    """Print the number of calls of each scenario, the number of cases and the problems."""
    injector = Injector(Path(os.environ["MEMPROF_FAULTS"]))
    calls, cases, problems = dict[str, int](), dict[str, int](), list[str]()
    for name in SCENARIOS:
        calls[name], found = run_case(name, folder / "case", injector, None)
        problems += [f"{name}, no fault: {problem}" for problem in found]
        faults = faults_of(calls[name])
        cases[name] = len(faults)
        for fault in faults:
            _, found = run_case(name, folder / "case", injector, fault)
            problems += [f"{name}, {fault}: {problem}" for problem in found]
    print(json.dumps({"calls": calls, "cases": cases, "problems": problems}))  # noqa: T201  the answer to the test


if __name__ == "__main__":
    main(Path(sys.argv[1]))
