"""A campaign file: models × GPUs × settings, and the configs that it stands for. No torch here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from memprof.config.load import LoadedConfig, load, load_section
from memprof.config.model_source import is_model_name
from memprof.config.names import user_model
from memprof.config.overrides import Flag, Override, Settings
from memprof.config.problems import written_path
from memprof.config.sections import Section
from memprof.config.yaml_lines import KeyPath
from memprof.errors import ConfigError, DeviceError

MOST_COMBINATIONS = 10_000


class CampaignConfig(Section):
    """The keys of a campaign file. Each model is measured on each GPU with each group of settings."""

    models: tuple[str, ...] = Field(
        min_length=1, description="Config files relative to this one, or models: torchvision:NAME, FILE.py:FACTORY."
    )
    gpus: tuple[str, ...] = Field(default=("auto",), min_length=1, description="Names that `memprof gpus` lists.")
    settings: tuple[dict[str, Any], ...] = Field(
        default=({},), min_length=1, description="Groups of config keys and their values; {} changes nothing."
    )
    batch_sizes: tuple[int, ...] = Field(default=(), description="Instead of those of the configs.")
    optimizers: tuple[str, ...] = Field(default=(), description="Instead of those of the configs.")


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One model on one GPU with one group of settings."""

    model: str
    gpu: str
    settings: str  # as they are written: precision=amp-bf16, steps=3
    loaded: LoadedConfig


def load_campaign(path: Path, check_gpu: Callable[[str], object]) -> list[Combination]:
    """Return the combinations of the campaign in the file at `path`, in the order of its lists.

    `check_gpu` gets each name of a GPU that is to be simulated, and raises a `DeviceError` if there is none.

    Raises:
        ConfigError: the file or one of its configs is wrong; the text has the file, the line and the key.
    """
    campaign, written = load_section(path, CampaignConfig)
    for place, gpu in enumerate(campaign.gpus):
        with _located(written, ("gpus", place)):
            if gpu != "auto" and not gpu.startswith("cuda"):
                check_gpu(gpu)
    count = len(campaign.models) * len(campaign.gpus) * len(campaign.settings)
    if count > MOST_COMBINATIONS:
        raise ConfigError(f"{path}: {count:,} combinations of models, GPUs and settings; {MOST_COMBINATIONS:,} at most")
    common = [
        *(Override(flag=Flag.BATCH_SIZE, text=str(size)) for size in campaign.batch_sizes),
        *(Override(flag=Flag.OPTIMIZER, text=name) for name in campaign.optimizers),
    ]
    return list(_combinations(campaign, written, path.parent, common))


def _combinations(
    campaign: CampaignConfig, written: Settings, folder: Path, common: Sequence[Override]
) -> Iterator[Combination]:
    for place, model in enumerate(campaign.models):
        source = _source(model, folder)
        with _located(written, ("models", place)):
            load(source)
        for gpu, (group, settings) in product(campaign.gpus, enumerate(campaign.settings)):
            texts = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
            overrides = [Override(flag=Flag.SET, text=text) for text in texts]
            with _located(written, ("settings", group)):
                loaded = load(source, [*overrides, *common, Override(flag=Flag.GPU, text=gpu)])
            shown = ", ".join(f"{key}={_plain(value)}" for key, value in settings.items())
            yield Combination(model=model, gpu=gpu, settings=shown, loaded=loaded)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _source(model: str, folder: Path) -> Path:
    """Return the path of a config or of the user's own model, which are relative to the campaign's folder."""
    return folder / model if user_model(model) or not is_model_name(Path(model)) else Path(model)


@contextmanager
def _located(written: Settings, key: KeyPath) -> Iterator[None]:
    """Name the line and the key of the campaign in an error of a config."""
    try:
        yield
    except (ConfigError, DeviceError) as error:
        place = next(written.places[key[:length]] for length in (2, 1, 0) if key[:length] in written.places)
        text = str(error).replace("--set ", "")
        raise ConfigError(f"{place}: {written_path(key)}: {text}") from error
