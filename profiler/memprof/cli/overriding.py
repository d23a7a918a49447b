"""The options that override a config, as the config package takes them."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.config.overrides import Flag, Override


def overrides(
    *,
    gpu: str | None = None,
    batch_sizes: Sequence[str | int | None] = (),
    optimizers: Sequence[str | None] = (),
    settings: Sequence[str] | None = None,
    model: Sequence[Override] = (),
) -> list[Override]:
    """Return the options of the command line as overrides; those that were not given are ``None``.

    `model` are those of `memprof.cli.model_options`.
    """
    pairs = [
        *((Flag.SET, text) for text in settings or ()),
        (Flag.GPU, gpu),
        *((Flag.BATCH_SIZE, size) for size in separated(batch_sizes)),
        *((Flag.OPTIMIZER, name) for name in separated(optimizers)),
    ]
    return [*model, *(Override(flag=flag, text=str(text)) for flag, text in pairs if text is not None)]


def separated(values: Sequence[str | int | None]) -> list[str]:
    """Return the values of an option that may be repeated, or list several with commas: ``16,32,64``."""
    texts = [str(value) for value in values if value is not None]
    return [part.strip() for text in texts for part in text.split(",")]
