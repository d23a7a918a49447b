"""`memprof init`: print a complete config for a model, with a comment for each key."""

from __future__ import annotations

from pathlib import Path

from memprof.cli import options
from memprof.cli.console import print_text
from memprof.cli.model_options import ModelOptions, takes_model
from memprof.cli.overriding import overrides
from memprof.config.load import load
from memprof.config.template import write_template
from memprof.errors import ConfigError, ExitCode

EXAMPLES = """\
memprof init torchvision:resnet50 > resnet50.yaml
memprof init net.py:build --input 3x64x64 --classes 10 --optimizer adamw > net.yaml"""


@takes_model
def command(
    model_name: options.ModelName,
    gpu: options.GpuName = None,
    batch_size: options.BatchSizes = None,
    optimizer: options.Optimizers = None,
    set_: options.Settings = None,
    model: ModelOptions = (),
) -> int:
    """Print a config."""
    chosen = overrides(gpu=gpu, batch_sizes=batch_size or (), optimizers=optimizer or (), settings=set_, model=model)
    loaded = load(Path(model_name), chosen)
    if loaded.has_file:
        raise ConfigError(f"{model_name}: is a config file already; name a model, for example torchvision:resnet50")
    print_text(write_template(loaded.config))
    return ExitCode.OK
