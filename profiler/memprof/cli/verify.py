"""`memprof verify`: the real GPU of this machine against its phantom, and a record of it to send."""

from __future__ import annotations

from json import dumps
from pathlib import Path

from memprof.cli.console import print_json, progress_bar, stderr, stdout
from memprof.config.schema import Precision
from memprof.errors import DeviceError, ExitCode, ResultError
from memprof.experiments.verify import Entry, Verification, file_name, phantom_of, to_json, verify, verify_cases
from memprof.gpus.real import RealGpu, list_real_gpus
from memprof.gpus.select import Device, choose_device
from memprof.records import Status
from memprof.report.terminal.verify import verification_table
from memprof.results.files import replace_file

_FIRST_WITH_BFLOAT16 = (8, 0)  # Ampere; CUDA Programming Guide, Compute Capabilities


def run(output: Path, json: bool) -> ExitCode:
    """Run the test cases on the GPU and on its phantom; return 6 if one failed for another reason than memory.

    Raises:
        DeviceError: there is no real GPU here; what would be run has been listed.
        ResultError: the record cannot be written.
    """
    gpus = list_real_gpus()
    if not gpus:
        _list(verify_cases(), json)
        raise DeviceError("verify needs a real GPU, and there is none here; listed is what it would run on both sides")
    _check_writable(output)
    card = choose_device("cuda:0")
    found = _verify(card, verify_cases(_autocast(gpus[0])), json)
    file = _save(found, output)
    if json:
        print_json(to_json(found))
    else:
        console = stdout()
        console.print(verification_table(found, console.width))
        console.print(f"saved in {file}: send it as a pull request to docs/fidelity/", soft_wrap=True)
    ended = {side.status for row in found.rows for side in (row.gpu, row.phantom)}
    return ExitCode.FAILED_ROWS if ended - {Status.OK, Status.OOM} else ExitCode.OK


def _verify(card: Device, entries: tuple[Entry, ...], json: bool) -> Verification:
    (stderr() if json else stdout()).print(f"{card.explanation}, and on its phantom", soft_wrap=True)
    with progress_bar("starting PyTorch", len(entries)) as progress:
        task = progress.tasks[0].id
        sides, rows = verify(card, phantom_of(card), entries)
        done = []
        for row in rows:
            done.append(row)
            progress.update(task, description=row.model, advance=1)
    return Verification(gpu=sides[0], phantom=sides[1], rows=tuple(done))


def _autocast(gpu: RealGpu) -> Precision:
    major, minor = map(int, gpu.compute_capability.split("."))
    return Precision.AMP_BF16 if (major, minor) >= _FIRST_WITH_BFLOAT16 else Precision.AMP_FP16


def _list(entries: tuple[Entry, ...], json: bool) -> None:
    if json:
        print_json({"cases": [entry.name for entry in entries]})
        return
    for entry in entries:
        print(entry.name)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / ".memprof.new"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ResultError(f"--output {folder}: cannot be written: {error.strerror}") from None


def _save(found: Verification, folder: Path) -> Path:
    file = folder / file_name(found)
    try:
        replace_file(file, dumps(to_json(found), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ResultError(f"--output {folder}: cannot be written: {error.strerror}") from None
    return file
