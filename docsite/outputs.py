"""`python -m docsite.outputs`: run the commands that the pages show, and write their output into the pages.

A block in a page looks like this, with the paragraphs of the output that are shown (all of them without a number) and
the stream (stdout, unless it says ``stderr``)::

    <!-- output 1-2: memprof sweep configs/resnet50.yaml --gpu rtx-4090 -->
    ```text
    $ memprof sweep configs/resnet50.yaml --gpu rtx-4090
    ...
    ```

`--check` writes nothing, and exits with status 1 if a page differs.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS = 80
_BLOCK = re.compile(
    r"(?P<head><!-- output(?: (?P<first>\d+)(?:-(?P<last>\d+))?)?(?P<stderr> stderr)?: (?P<command>[^\n]+) -->\n"
    r"```text\n)(?P<text>.*?)(?=```\n)",
    re.DOTALL,
)
_SECONDS = re.compile(r"\b\d+\.\d+ s\b|(?<=iB) +\d+\.\d$", re.MULTILINE)  # also the last column of trials


@dataclass(frozen=True, kw_only=True)
class OutputBlock:
    """One block of a page. `paragraphs` are the first and the last that are shown, from 1 on; ``None``: all."""

    command: str
    paragraphs: tuple[int, int] | None
    stderr: bool
    text: str

    def shown(self, ended: subprocess.CompletedProcess[str]) -> str:
        """Return what the block must hold after a run of its command."""
        printed = ended.stderr if self.stderr else ended.stdout
        lines = [line.rstrip() for line in printed.splitlines() if not line.startswith("saved in ")]
        paragraphs = "\n".join(lines).strip("\n").split("\n\n")
        first, last = self.paragraphs or (1, len(paragraphs))
        return "\n".join([f"$ {self.command}", "\n\n".join(paragraphs[first - 1 : last]), ""])


def pages() -> list[Path]:
    """Return the pages that may hold blocks: README.md and everything under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def find_blocks(text: str) -> Iterator[OutputBlock]:
    """Yield the blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        yield _block(found)


def _block(found: re.Match[str]) -> OutputBlock:
    first, last = found["first"], found["last"] or found["first"]
    return OutputBlock(
        command=found["command"],
        paragraphs=(int(first), int(last)) if first else None,
        stderr=bool(found["stderr"]),
        text=found["text"],
    )


def without_times(text: str) -> str:
    """Return the text without what differs from run to run: the seconds that something took."""
    return _SECONDS.sub("… s", text)


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder with the repository's configs and examples, for results that nobody keeps."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("configs", "examples"):
            (Path(folder) / name).symlink_to(ROOT / name)
        yield Path(folder)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line of a page in `folder`, with this interpreter's `memprof` and `python`."""
    words = shlex.split(command)
    if words[0] == "memprof":
        words[:1] = [sys.executable, "-m", "memprof"]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT / "profiler"), "COLUMNS": str(COLUMNS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def refreshed(text: str, ended: Mapping[str, subprocess.CompletedProcess[str]]) -> str:
    """Return the page with the output of `ended`, runs by command, in its blocks."""

    def replace(found: re.Match[str]) -> str:
        block = _block(found)
        shown = block.shown(ended[block.command])
        return found[0] if without_times(shown) == without_times(block.text) else found["head"] + shown

    return _BLOCK.sub(replace, text)


def main() -> int:
    """Run every command once and rewrite the pages that differ."""
    parser = argparse.ArgumentParser(prog="python -m docsite.outputs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with status 1 if a page differs")
    check = parser.parse_args().check
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    commands = dict.fromkeys(block.command for text in texts.values() for block in find_blocks(text))
    with workspace() as folder:
        ended = {command: run(command, folder) for command in commands}
    different = {page: new for page, text in texts.items() if (new := refreshed(text, ended)) != text}
    for page, text in different.items():
        print(page.relative_to(ROOT))
        if not check:
            page.write_text(text, encoding="utf-8")
    return 1 if check and different else 0


if __name__ == "__main__":
    raise SystemExit(main())
