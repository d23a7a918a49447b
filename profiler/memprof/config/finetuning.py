"""The sections of a config file about fine-tuning: what is trained, and what a step does besides the update."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from memprof.config.sections import MAX_NAME_LENGTH, Kwargs, Real, Section, named

# A method of peft, `lora`, or the name of its configuration class, `LoraConfig`.
_Method = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z]\w*$", max_length=100)]
_Pattern = Annotated[str, Field(strict=True, min_length=1, max_length=1000)]


def _with_arguments(value: Any) -> Any:
    """Return the long form of a method without arguments: ``lora``, or ``lora:`` with nothing after it."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict) and len(value) > 1:
        raise ValueError(f"names {len(value)} methods; write one of them")
    return {key: item or {} for key, item in value.items()} if isinstance(value, dict) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Modules = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]
AdapterMethod = Annotated[
    dict[_Method, Kwargs],
    Field(min_length=1),
    BeforeValidator(_with_arguments, json_schema_input_type=str | dict[_Method, Kwargs | None]),
]
FreezePatterns = Annotated[
    tuple[_Pattern, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[_Pattern, ...])
]


def _decay(value: Any) -> Any:
    return {"decay": float(value)} if type(value) in (int, float) else value


class QuantizationConfig(Section):
    """The weights of linear layers in 4 or 8 bits: `bitsandbytes.nn.Linear4bit` or `Linear8bitLt`."""

    bits: Literal[4, 8] = Field(description="Bits per weight.")
    quant_type: Literal["nf4", "fp4"] = Field(default="nf4", description="The data type of 4-bit weights.")
    double_quant: bool = Field(
        default=False, description="Quantize the scales of 4-bit weights too (bnb_4bit_use_double_quant)."
    )
    compute_dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None, description="The dtype in which 4-bit layers compute; by default that of the precision."
    )
    threshold: Real = Field(
        default=6.0,
        ge=0,
        description="Inputs of 8-bit layers above it are multiplied in 16 bits (llm_int8_threshold); on a phantom all "
        "values are 0.",
    )
    skip: Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])] | None = (
        Field(
            default=None,
            description="Modules that stay as they are, by path or last name; by default the output layer and the last "
            "module.",
            examples=[["lm_head"]],
        )
    )


class EmaConfig(Section):
    """A moving average of the weights: a copy of the whole model, which `torch.optim.swa_utils.AveragedModel` keeps."""

    decay: Real = Field(default=0.999, ge=0, le=1, description="The share of the average that a step keeps.")
    use_buffers: bool = Field(default=False, description="Average the buffers too, instead of copying them.")


class SchedulerConfig(Section):
    """A class of `torch.optim.lr_scheduler`, which steps after each optimizer step."""

    name: str = Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="A class of torch.optim.lr_scheduler in upper or lower case.",
        examples=["CosineAnnealingLR", "OneCycleLR"],
    )
    kwargs: Kwargs = Field(default={}, description="Keyword arguments of the scheduler.")


Ema = Annotated[EmaConfig, BeforeValidator(_decay, json_schema_input_type=float | EmaConfig)]
Scheduler = Annotated[SchedulerConfig, BeforeValidator(named, json_schema_input_type=str | SchedulerConfig)]
