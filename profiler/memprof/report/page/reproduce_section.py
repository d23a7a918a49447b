"""The section that lets a reader make the page's figures again: commands, versions, config, and what was left out."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

import yaml

from memprof.report.page.collect import ReportInputs
from memprof.report.page.elements import Code, Heading, Listing, Part, Section, Table, text_cell
from memprof.report.page.summary_section import gpu_text

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


def origin_section(inputs: ReportInputs) -> Section:
    """Return where the page's figures come from and how to make them again."""
    parts: list[Part] = [
        commands(inputs),
        environment_table(inputs),
        Code(caption="The whole config", text=config_yaml(inputs.results[0].manifest.config), folded=True),
        Listing(caption="Made of", items=tuple(_origin(saved) for saved in inputs.results)),
    ]
    skipped = tuple(f"{item.path}, {item.what}: {item.reason}" for item in inputs.skipped)
    if skipped:
        parts.append(Listing(caption="Left out, because it is not alike or cannot be read", items=skipped))
    older = f"{inputs.older} older results of the same kinds are not on the page."
    lead = (older,) if inputs.older else ()
    return Section(id="origin", title="How to make it again", lead=lead, parts=tuple(parts))


def commands(inputs: ReportInputs) -> Code:
    """Return what to type: the versions that decide the figures, then the commands that were run."""
    environment = inputs.environment
    torch = environment.torch_version.partition("+")[0]
    packages = [f"memprof-gpu=={environment.memprof_version}", f"torch=={torch}"]
    if environment.torchvision_version:
        packages.append(f"torchvision=={environment.torchvision_version.partition('+')[0]}")
    settings = environment.allocator_settings
    before = f"PYTORCH_CUDA_ALLOC_CONF={shlex.quote(settings)} " if settings else ""
    ran = dict.fromkeys(shlex.join(saved.manifest.command) for saved in inputs.results)
    lines = [f"pip install {' '.join(packages)}", *(f"{before}{command}" for command in ran)]
    return Code(caption="Commands", text="\n".join(lines))


def environment_table(inputs: ReportInputs) -> Table:
    """Return the circumstances of the runs."""
    known = asdict(inputs.environment)
    facts = {
        "GPU": gpu_text(inputs),
        "source": inputs.source.value,
        **{name: known[key] for name, key in _NAMES.items()},
    }
    rows = tuple((text_cell(name), text_cell(value)) for name, value in facts.items() if value)
    headings = (Heading(text="what", numeric=False), Heading(text="version or setting", numeric=False))
    return Table(caption="Environment", headings=headings, rows=rows)


def config_yaml(config: dict[str, Any]) -> str:
    """Return the config as a file could have it: every key at the value that the runs had."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100).rstrip()


def _origin(saved: Any) -> str:
    manifest = saved.manifest
    unfinished = "" if manifest.complete else ", not complete"
    return f"{manifest.kind.noun}, started {manifest.started}{unfinished}: {saved.path}"
