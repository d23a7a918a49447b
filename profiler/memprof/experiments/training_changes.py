"""The settings that save memory and change what is trained, in the order of how much they change it, the least first.

`memprof fit` tries them only if no set of other settings fits, and says that they change the training.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from memprof.config.names import TRANSFORMERS
from memprof.config.schema import Mode, Precision, SweepConfig
from memprof.config.variants import Setting
from memprof.experiments.memory_savers import MemorySaver

IsInstalled = Callable[[str], bool]

# The optimizers of torch.optim that bitsandbytes has with 8-bit state, and the arguments that it does not take.
_IN_EIGHT_BITS = {"adam": "Adam8bit", "adamw": "AdamW8bit"}
_NOT_TAKEN = ("fused", "foreach", "capturable", "differentiable", "maximize")
# The rank is that of peft's examples; all linear layers are those of the QLoRA paper, Dettmers et al. 2023, section 4.
_LORA = Setting(key="adapter", value="{lora: {r: 16, target_modules: all-linear}}")
_FOUR_BITS = Setting(key="quantization", value="{bits: 4, double_quant: true}")


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


def list_training_changes(
    config: SweepConfig, bf16: bool, is_installed: IsInstalled = _is_installed
) -> tuple[MemorySaver, ...]:
    """Return the settings for `config`, of one optimizer and one batch size, that it does not use yet.

    Args:
        config: what is to fit; settings that it has itself are left as they are.
        bf16: whether the GPU multiplies in bfloat16.
        is_installed: whether a package can be imported.
    """
    if config.mode is Mode.INFERENCE:
        return ()
    savers = [*_eight_bit_state(config, is_installed), *_bf16_weights(config, bf16)]
    return (*savers, *_adapters(config, is_installed))


def _eight_bit_state(config: SweepConfig, is_installed: IsInstalled) -> list[MemorySaver]:
    optimizer = config.optimizers[0]
    name = _IN_EIGHT_BITS.get(optimizer.name.lower())
    if name is None or not is_installed("bitsandbytes"):
        return []
    taken = {key: value for key, value in optimizer.kwargs.items() if key not in _NOT_TAKEN}
    arguments = ", ".join(f"{key}: {value}" for key, value in taken.items())
    setting = Setting(key="optimizer", value=f"{{name: 'bitsandbytes:{name}', kwargs: {{{arguments}}}}}")
    cost = "changes training: state rounds to 8 bits"
    rules_out = tuple(f"optimizer.kwargs.{key}" for key in _NOT_TAKEN)
    return [_changing(f"{optimizer.name} with 8-bit state", cost, setting, rules_out=rules_out)]


def _bf16_weights(config: SweepConfig, bf16: bool) -> list[MemorySaver]:
    if not bf16 or config.precision not in (Precision.FP32, Precision.AMP_BF16):
        return []
    cost = "changes training: weights round to bfloat16"
    return [_changing("bf16 weights", cost, Setting(key="precision", value="bf16"))]


def _adapters(config: SweepConfig, is_installed: IsInstalled) -> list[MemorySaver]:
    """LoRA, and 4-bit weights next to an adapter, since they are not trained themselves."""
    savers, adapter = [], []
    if config.adapter is None:
        if config.freeze or not config.model.name.startswith(TRANSFORMERS) or not is_installed("peft"):
            return []
        adapter = [_LORA]
        savers.append(_changing("LoRA", "changes training: an adapter, not the weights", _LORA))
    if config.quantization is None and is_installed("bitsandbytes"):
        cost = "changes training: frozen weights in 4 bits"
        savers.append(_changing("4-bit weights", cost, _FOUR_BITS, *adapter))
    return savers


def _changing(name: str, cost: str, *settings: Setting, rules_out: tuple[str, ...] = ()) -> MemorySaver:
    return MemorySaver(name=name, settings=settings, cost=cost, rules_out=rules_out, changes_training=True)
