"""`memprof verify`: compare the real GPU of this machine with its phantom, and write a record to contribute."""

from __future__ import annotations

from json import dumps
from pathlib import Path

from memprof.cli import options
from memprof.cli.console import note, print_json, print_text, progress_bar, stdout
from memprof.config.schema import Precision
from memprof.errors import DeviceError, ExitCode, ResultError
from memprof.experiments.verify import Entry, Verification, file_name, phantom_of, to_json, verify, verify_cases
from memprof.gpus.real import RealGpu, list_real_gpus
from memprof.gpus.select import Device, choose_device
from memprof.records import Status
from memprof.report.terminal.verify import verification_table
from memprof.results.files import replace_file

EXAMPLES = """\
memprof verify
memprof verify --output records --json"""
_FIRST_WITH_BFLOAT16 = (8, 0)  # Ampere; CUDA Programming Guide, Compute Capabilities


def command(output: options.RecordFolder = Path("docs/fidelity"), json: options.Json = False) -> int:
    """Compare the GPU with its phantom."""
    return run(output, json)


def run(output: Path, json: bool) -> ExitCode:
    """Run the test cases on the GPU and on its phantom; return 6 if one failed for another reason than memory.

    Raises:
        DeviceError: no real GPU was found; the test cases have been listed.
        ResultError: the record cannot be written.
    """
    gpus = list_real_gpus()
    if not gpus:
        _list(verify_cases(), json)
        raise DeviceError("verify needs a real GPU, and none was found; the listed test cases were not run")
    _check_writable(output)
    device = choose_device("cuda:0")
    found = _verify(device, verify_cases(_autocast(gpus[0])))
    file = _save(found, output)
    if json:
        print_json(to_json(found))
    else:
        console = stdout()
        console.print(verification_table(found, console.width))
        console.print(f"saved in {file}: send it as a pull request to docs/fidelity/", soft_wrap=True)
    ended = {side.status for row in found.rows for side in (row.gpu, row.phantom)}
    return ExitCode.FAILED_ROWS if ended - {Status.OK, Status.OOM} else ExitCode.OK


def _verify(device: Device, entries: tuple[Entry, ...]) -> Verification:
    note(f"{device.explanation}, and on its phantom")
    with progress_bar("starting PyTorch", len(entries)) as progress:
        sides, rows = verify(device, phantom_of(device), entries)
        done = []
        for row in rows:
            done.append(row)
            progress.advance(row.model)
    return Verification(gpu=sides[0], phantom=sides[1], rows=tuple(done))


def _autocast(gpu: RealGpu) -> Precision:
    major, minor = map(int, gpu.compute_capability.split("."))
    return Precision.AMP_BF16 if (major, minor) >= _FIRST_WITH_BFLOAT16 else Precision.AMP_FP16


def _list(entries: tuple[Entry, ...], json: bool) -> None:
    if json:
        print_json({"cases": [entry.name for entry in entries]})
        return
    for entry in entries:
        print_text(f"{entry.name}\n")


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
