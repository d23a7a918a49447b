"""What the shell proposes for an incomplete word. Imports happen within the functions, and none imports torch.

bash splits words at ``=`` and ``:``. `join_words` undoes that before typer reads them, and each proposal then lacks
what bash already has.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_BASH = "complete_bash"
_VARIABLE = "_MEMPROF_COMPLETE"  # set by the script of `--show-completion`
_SEPARATORS = "=:"  # of bash's COMP_WORDBREAKS, those that occur within words of ours
_MOST_FILES = 200
_LIBRARIES = ("torchvision:", "timm:", "transformers:", "diffusers:")


class _Rest(str):
    """The rest of a word that bash has split; typer compares it with the whole word, which it does not begin with."""

    __slots__ = ()

    def startswith(self, *_: Any) -> bool:
        """Accept any beginning."""
        return True


def join_words(environment: MutableMapping[str, str]) -> None:
    """Join the words of bash's COMP_WORDS that it split at ``=`` and ``:``."""
    if environment.get(_VARIABLE) != _BASH:
        return
    with suppress(KeyError, ValueError):
        words, current = environment["COMP_WORDS"].split("\n"), int(environment["COMP_CWORD"])
        joined = list[str]()
        for index, word in enumerate(words[: current + 1]):
            of_option = index > 0 and joined[-1].startswith("-")  # --gpu=t4 is --gpu t4
            continues = index > 0 and (_is_separator(word) or _is_separator(words[index - 1]))
            if continues and not of_option:
                joined[-1] += word
            elif not (continues and _is_separator(word)):
                joined.append(word)
            elif index == current:
                joined.append("")
        place = len(joined) - 1
        environment["COMP_WORDS"] = "\n".join(shlex.quote(word) if word else "" for word in joined)
        environment["COMP_CWORD"] = str(place)


def gpus(incomplete: str) -> list[str]:
    """GPU names for one GPU, or for a list with commas."""
    from memprof.gpus.catalog import load_catalog

    return _proposals(_in_list(incomplete, ["auto", "cuda:0", *load_catalog()]), incomplete)


def gpu_lists(incomplete: str) -> list[str]:
    """The same, with all GPUs of the catalog at once."""
    from memprof.gpus.catalog import load_catalog

    return _proposals(_in_list(incomplete, ["all", "cuda:0", *load_catalog()]), incomplete)


def configs(incomplete: str) -> list[str]:
    """YAML files here and one folder below, built-in models, and the prefixes of libraries."""
    from memprof.config.names import BUILT_IN

    folder = Path(incomplete if incomplete.endswith("/") else os.path.dirname(incomplete))
    files = (path for pattern in ("*.y*ml", "*/*.y*ml") for path in folder.glob(pattern))
    shown = [str(path) for path, _ in zip(files, range(_MOST_FILES), strict=False)]
    return _proposals([*sorted(shown), *BUILT_IN, *_LIBRARIES], incomplete)


def saved_results(ctx: Any, incomplete: str) -> list[str]:
    """The names of saved results."""
    root = Path(str(ctx.params.get("output_dir") or "results"))
    names = (folder.parent.parent.name for folder in root.glob("*/*/manifest.json"))
    return _proposals(sorted(set(names)), incomplete)


def settings(incomplete: str) -> list[str]:
    """Keys of the config, and the values of a key that has few."""
    from memprof.config.keys import config_keys

    known = config_keys()
    key, separator, _ = incomplete.partition("=")
    keys = [key] if separator else [name for name in known if name.startswith(incomplete)]
    if len(keys) == 1 and known.get(keys[0]):
        return _proposals([f"{keys[0]}={value}" for value in known[keys[0]]], incomplete)
    return [] if separator else _proposals([f"{name}=" for name in keys], incomplete)


def optimizers(incomplete: str) -> list[str]:
    """Optimizers of torch.optim and memprof's short names."""
    from memprof.config.names import OPTIMIZERS
    from memprof.config.sections import SHORT_OPTIMIZERS

    return _proposals(_in_list(incomplete, [*(name.lower() for name in OPTIMIZERS), *SHORT_OPTIMIZERS]), incomplete)


def precisions(incomplete: str) -> list[str]:
    """The precisions of a config."""
    from memprof.config.keys import config_keys

    return _proposals(config_keys()["precision"], incomplete)


def values(incomplete: str) -> list[str]:
    """What a config's `values` may be."""
    from memprof.config.keys import config_keys

    return _proposals(config_keys()["values"], incomplete)


def one_of(*choices: str) -> Callable[[str], list[str]]:
    """Return the completion of an option with these values."""

    def complete(incomplete: str) -> list[str]:
        return _proposals(choices, incomplete)

    return complete


def _in_list(incomplete: str, names: Iterable[str]) -> Iterator[str]:
    """Yield each name after the items that are typed already: ``t4,rtx`` gives ``t4,rtx-4090``."""
    before, comma, _ = incomplete.rpartition(",")
    taken = before.split(",")
    yield from (f"{before}{comma}{name}" for name in names if name not in taken)


def _proposals(words: Iterable[str], incomplete: str) -> list[str]:
    """Return the words that begin with `incomplete`; for bash without what it keeps."""
    found = [word for word in words if word.startswith(incomplete)]
    if os.environ.get(_VARIABLE) != _BASH:
        return found
    kept = max(incomplete.rfind(separator) for separator in _SEPARATORS) + 1
    return [_Rest(word[kept:]) for word in found]


def _is_separator(word: str) -> bool:
    return word != "" and all(character in _SEPARATORS for character in word)
