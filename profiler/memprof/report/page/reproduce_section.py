"""The section for reproducing the figures: commands, versions, config, sources, and what was skipped."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from typing import Any

import yaml

from memprof.report.page.collect import ReportInputs
from memprof.report.page.elements import Code, Heading, Listing, Part, Section, Table, text_cell
from memprof.report.page.names import gpu_text

_NAMES = {
    "memprof": "memprof_version",
    "Python": "python_version",
    "platform": "platform",
    "torch": "torch_version",
    "torchvision": "torchvision_version",
    "CUDA": "cuda_version",
    "cuDNN": "cudnn_version",
    "driver": "driver_version",
    "allocator settings": "allocator_settings",
    "git commit": "git_commit",
}


_BUILD = re.compile(r"\+(?P<name>cu\d+|cpu)$")


def reproduce_section(inputs: ReportInputs) -> Section:
    """Return where the figures come from and how to reproduce them."""
    parts: list[Part] = [
        commands(inputs),
        environment_table(inputs),
        Code(caption="Complete config", text=config_yaml(inputs.results[0].manifest.config), folded=True),
        Listing(caption="Sources", items=tuple(_source(saved) for saved in inputs.results)),
    ]
    skipped = tuple(f"{item.path} ({item.what}): {item.reason}" for item in inputs.skipped)
    if skipped:
        parts.append(Listing(caption="Skipped results", items=skipped))
    older = f"{inputs.older:,} older results of the same kinds are not shown."
    lead = (older,) if inputs.older else ()
    return Section(id="reproduce", title="Reproduce", lead=lead, parts=tuple(parts))


def commands(inputs: ReportInputs) -> Code:
    """Return the commands: install the versions that determine the figures, then run what was run.

    memprof itself is installed from a clone of its repository.
    """
    environment = inputs.environment
    torch = environment.torch_version.partition("+")[0]
    packages = [f"torch=={torch}"]
    if environment.torchvision_version:
        packages.append(f"torchvision=={environment.torchvision_version.partition('+')[0]}")
    settings = environment.allocator_settings
    before = f"PYTORCH_CUDA_ALLOC_CONF={shlex.quote(settings)} " if settings else ""
    ran = dict.fromkeys(shlex.join(saved.manifest.command) for saved in inputs.results)
    lines = [
        f"pip install {' '.join(packages)}{_index(environment.torch_version)}",
        f"pip install .  # memprof {environment.memprof_version}, in a clone of its repository",
        *(f"{before}{command}" for command in ran),
    ]
    return Code(caption="Commands", text="\n".join(lines))


def _index(torch_version: str) -> str:
    """The index that has this build of PyTorch: PyPI has only one of a version's builds.

    Source: https://pytorch.org/get-started/previous-versions/
    """
    build = _BUILD.search(torch_version)
    return f" --index-url https://download.pytorch.org/whl/{build['name']}" if build else ""


def environment_table(inputs: ReportInputs) -> Table:
    """Return the GPU, the versions and the settings of the runs."""
    known = asdict(inputs.environment)
    facts = {
        "GPU": gpu_text(inputs),
        "source": inputs.source.value,
        **{name: known[key] for name, key in _NAMES.items()},
    }
    rows = tuple((text_cell(name), text_cell(value)) for name, value in facts.items() if value)
    headings = (Heading(text="item", numeric=False), Heading(text="version or setting", numeric=False))
    return Table(caption="Environment", headings=headings, rows=rows)


def config_yaml(config: dict[str, Any]) -> str:
    """Return the config as a YAML file: every key with the value that the runs had."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100).rstrip()


def _source(saved: Any) -> str:
    manifest = saved.manifest
    unfinished = "" if manifest.complete else ", incomplete"
    return f"{manifest.kind.noun}, started {manifest.started}{unfinished}: {saved.path}"
