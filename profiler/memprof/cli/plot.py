"""`memprof plot`: draw a saved result, to files or in the terminal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from memprof.cli import options
from memprof.cli.console import print_drawing, print_json, stdout
from memprof.errors import ConfigError, ExitCode, ResultError, did_you_mean
from memprof.records import SCHEMA_VERSION
from memprof.report.plots.build import kinds_with, plot_of
from memprof.report.plots.colors import ThemeName
from memprof.report.plots.elements import BatchPlot, CategoriesPlot, Format, Plot, PlotKind
from memprof.results import Result, load
from memprof.results.files import replace_file

E = TypeVar("E", bound=StrEnum)
EXAMPLES = """\
memprof plot resnet50
memprof plot resnet50 --kind timeline --theme dark -o figures/
memprof plot resnet50 --terminal"""
_BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Which plot, in which form, as typed; ``None`` if the option was left out."""

    kind: str | None
    output: str | None
    format: str | None
    theme: str
    terminal: bool
    json: bool


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where plots go: one file, or a folder under names of their own; `folder` ``None`` is the result's."""

    file: Path | None
    folder: Path | None
    formats: Sequence[Format]

    def paths(self, result: Result, plot: Plot, theme: ThemeName) -> dict[Format, Path]:
        """Return the file of each format."""
        if self.file is not None:
            return {self.formats[0]: self.file}
        dark = "-dark" if theme is ThemeName.DARK else ""
        name = f"{result.manifest.name}-{_kind_of(plot)}{dark}"
        return {format_: (self.folder or result.path) / f"{name}.{format_}" for format_ in self.formats}


def command(
    result: options.SavedResult,
    kind: options.PlotKind = None,
    output: options.PlotOutput = None,
    format_: options.PlotFormat = None,
    theme: options.PlotTheme = "light",
    terminal: options.InTerminal = False,
    output_dir: options.OutputDir = Path("results"),
    json: options.PlotJson = False,
) -> int:
    """Draw a saved result."""
    wanted = PlotOptions(kind=kind, output=output, format=format_, theme=theme, terminal=terminal, json=json)
    return run(result, output_dir, wanted)


def run(place: str, root: Path, wanted: PlotOptions) -> ExitCode:
    """Draw the saved result that `place` names: to files, whose paths are printed, or to the terminal."""
    kind = None if wanted.kind is None else _one_of(PlotKind, "--kind", wanted.kind)
    theme = _one_of(ThemeName, "--theme", wanted.theme)
    printed = "--terminal" if wanted.terminal else "--json" if wanted.json else None
    if printed and (wanted.output or wanted.format):
        raise ConfigError(f"{printed} prints the plot and writes no file; leave out --output and --format")
    target = _target(wanted)
    result = load(place, root, kinds_with(kind))
    plot = plot_of(result, kind)
    if wanted.json:
        print_json({"schema_version": SCHEMA_VERSION, "kind": _kind_of(plot), "plot": asdict(plot)})
    elif wanted.terminal:
        _print(plot, theme)
    else:
        _write(plot, theme, target.paths(result, plot, theme))
    return ExitCode.OK


def _one_of(kind: type[E], option: str, text: str) -> E:
    try:
        return kind(text.lower())
    except ValueError:
        names = [member.value for member in kind]
        hint = did_you_mean(text, names) or f"; there are {', '.join(names)}"
        raise ConfigError(f"{option} {text}: no such {option.removeprefix('--')}{hint}") from None


def _target(wanted: PlotOptions) -> Target:
    chosen = _formats(wanted.format)
    output = wanted.output
    path = None if output is None else Path(output)
    if output is None or path is None or output.endswith("/") or not path.suffix or path.is_dir():
        return Target(file=None, folder=path, formats=chosen or (Format.PNG,))
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in list(Format):
        raise ConfigError(f"--output {path}: plots are .png or .svg files; end the name of a folder with /")
    if chosen and chosen != (Format(suffix),):
        raise ConfigError(f"--output {path}: --format {wanted.format} is different; leave one of them out")
    return Target(file=path, folder=None, formats=(Format(suffix),))


def _formats(text: str | None) -> tuple[Format, ...]:
    if text is None:
        return ()
    return tuple(Format) if text.lower() == _BOTH else (_one_of(Format, "--format", text),)


def _kind_of(plot: Plot) -> PlotKind:
    if isinstance(plot, BatchPlot):
        return PlotKind.BATCH
    return PlotKind.CATEGORIES if isinstance(plot, CategoriesPlot) else PlotKind.TIMELINE


def _print(plot: Plot, theme: ThemeName) -> None:
    from memprof.report.plots.text import draw_in_terminal

    print_drawing(draw_in_terminal(plot, theme, stdout().width))


def _write(plot: Plot, theme: ThemeName, paths: dict[Format, Path]) -> None:
    # Matplotlib's own notes, such as that it builds its cache of fonts, are nothing that a user can fix.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from memprof.report.plots.matplotlib_backend import draw

    for format_, path in paths.items():
        drawn = draw(plot, theme, format_)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, drawn)
        except OSError as error:
            name = error.filename or path
            raise ResultError(f"cannot write {name}: {error.strerror}; choose another place with --output") from None
        stdout().print(str(path), soft_wrap=True)
