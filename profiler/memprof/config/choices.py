"""The keys of a config with a few possible values."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """The dtype of the weights, or autocast over float32 weights (with a GradScaler for fp16)."""

    FP32 = "fp32"
    FP64 = "fp64"
    BF16 = "bf16"
    FP16 = "fp16"
    AMP_BF16 = "amp-bf16"
    AMP_FP16 = "amp-fp16"


class Attention(StrEnum):
    """The attention implementations of transformers, by its own names."""

    EAGER = "eager"
    SDPA = "sdpa"
    FLASH_ATTENTION_2 = "flash_attention_2"
    FLEX_ATTENTION = "flex_attention"


class Mode(StrEnum):
    """Train (forward, backward, step) or inference (`eval()` under `no_grad()`)."""

    TRAIN = "train"
    INFERENCE = "inference"


class BatchMode(StrEnum):
    """When the batch of a step is loaded, and what becomes of the previous one."""

    NEW = "new"
    REPLACED = "replaced"
    RESIDENT = "resident"


class Values(StrEnum):
    """What tensors of a simulated GPU contain: zeros, but for small known values, or what the CPU computes."""

    ZEROS = "zeros"
    CPU = "cpu"
