"""What the runners of a cluster are told before the first point."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.config.load import LoadedConfig
from memprof.engines.runner import Assignment, RealKind, variables_here
from memprof.engines.shipping import pack
from memprof.gpus.catalog import own_catalog
from memprof.gpus.select import Device
from memprof.records import Source


def assign(configs: Sequence[LoadedConfig], device: Device) -> Assignment:
    """Return what a runner needs to work for `configs` on `device`.

    Raises:
        ConfigError: the files of the configs cannot be shipped.
    """
    is_real, own = device.source is Source.MEASURED, own_catalog()
    return Assignment(
        config=configs[0].config,
        folder=configs[0].folder,
        path=configs[0].path,
        gpu=device.choice,
        kind=RealKind(name=device.name, total_bytes=device.total_bytes) if is_real else None,
        shipment=pack(configs),
        variables=variables_here(),
        own_gpus=own.read_bytes() if own.is_file() else None,
    )
