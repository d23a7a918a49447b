"""The images of the documentation: all exist, in both themes, each with its command."""

from __future__ import annotations

import re
import shlex

from tests.paths import ROOT

IMAGES = ROOT / "docs" / "images"
COMMANDS = re.findall(r"```bash\n(.*?)```", (IMAGES / "README.md").read_text(), re.DOTALL)[0].splitlines()


# The screenshots that docs/images/photograph.py takes.
PHOTOGRAPHS = ("report", "report-phone", "report-peak", "report-peak-phone")


def test_every_image_has_its_command() -> None:
    plots = [shlex.split(line) for line in COMMANDS if line.strip().startswith("memprof plot")]
    drawn = {f"{words[2]}-{words[words.index('--kind') + 1]}" for words in plots}
    assert any(line.startswith("python docs/images/photograph.py") for line in COMMANDS)
    there = {path.name for path in IMAGES.glob("*.png")}
    assert there == {f"{name}{theme}.png" for name in (*drawn, *PHOTOGRAPHS) for theme in ("", "-dark")}


def test_every_image_in_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"docs/images/[\w-]+\.png", readme)
    assert shown
    assert [path for path in shown if not (ROOT / path).is_file()] == []
