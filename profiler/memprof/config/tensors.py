"""The tensors of a batch: their shapes, in fixed or named sizes, alone, as keyword inputs or in nested structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from typing_extensions import TypeAliasType

from memprof.config.sections import LARGEST_INT64, MAX_DIMENSIONS, Count, Section

Bound = Annotated[int, Field(strict=True, ge=-LARGEST_INT64 - 1, le=LARGEST_INT64)]
SizeName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z_]\w*$", max_length=64)]
Dtype = Literal["float32", "float64", "bfloat16", "float16", "int64", "int32", "uint8", "bool"]
Sizes = Mapping[str, int]
_LIMITS = {"int64": (-(2**63), 2**63), "int32": (-(2**31), 2**31), "uint8": (0, 256)}


def _name_or_number(value: Any) -> str:
    return "size" if isinstance(value, str) else "number"


_Dimension = Annotated[
    Annotated[Count, Tag("number")] | Annotated[SizeName, Tag("size")], Discriminator(_name_or_number)
]
_RangeEnd = Annotated[
    Annotated[Bound, Tag("number")] | Annotated[SizeName, Tag("size")], Discriminator(_name_or_number)
]


class TensorConfig(Section):
    """One tensor of the batch, without the batch dimension; `range` bounds its integers, without the upper end.

    A dimension or an end of the range may be the name of one of the config's `sizes`.
    """

    shape: tuple[_Dimension, ...] = Field(
        max_length=MAX_DIMENSIONS,
        description="The shape without the batch dimension, in numbers or names from sizes; [] is one number per "
        "sample.",
        examples=[[3, 224, 224], ["seq_len"], []],
    )
    dtype: Dtype = Field(default="float32", description="The dtype of the tensor's elements.")
    range: tuple[_RangeEnd, _RangeEnd] | None = Field(
        default=None,
        description="For integers: [low, high], high excluded, as in torch.randint.",
        examples=[[0, 1000], [0, "vocab_size"]],
    )

    @model_validator(mode="after")
    def _range_fits_dtype(self) -> Self:
        if self.range is None:
            return self
        if self.dtype not in _LIMITS:
            raise ValueError(f"range is for integer tensors, and dtype is {self.dtype}")
        low, high = self.range
        if isinstance(low, str) or isinstance(high, str):
            return self  # checked once the sizes are known
        if low >= high:
            raise ValueError(f"range {list(self.range)} is empty; write [low, high] with low < high")
        least, most = _LIMITS[self.dtype]
        if low < least or high > most:
            raise ValueError(f"range {list(self.range)} does not fit into {self.dtype}: [{least}, {most}]")
        return self

    def names(self) -> Iterator[str]:
        """Yield the names of sizes that the tensor uses."""
        yield from (part for part in (*self.shape, *(self.range or ())) if isinstance(part, str))

    def resolved(self, sizes: Sizes) -> TensorConfig:
        """Return the tensor with numbers in place of the names in `sizes`.

        Raises:
            KeyError: a name is not in `sizes`.
            ValueError: with these numbers the range is wrong.
        """
        if not any(True for _ in self.names()):
            return self

        def number(part: int | str) -> int:
            return sizes[part] if isinstance(part, str) else part

        ends = None if self.range is None else tuple(map(number, self.range))
        return TensorConfig.model_validate(
            {"shape": tuple(map(number, self.shape)), "dtype": self.dtype, "range": ends}
        )


def _kind(value: Any) -> str:
    if isinstance(value, TensorConfig) or (isinstance(value, dict) and "shape" in value):
        return "tensor"
    if isinstance(value, PerSample) or (isinstance(value, dict) and "per_sample" in value):
        return "per_sample"
    return "list" if isinstance(value, list | tuple) else "mapping" if isinstance(value, dict) else "tensor"


# In the JSON Schema, a mapping with one of these keys is a tensor or a list, and not a structure of several.
_NO_TENSOR: dict[str, Any] = {"propertyNames": {"not": {"enum": ["shape", "per_sample"]}}}


class PerSample(Section):
    """A Python list with one item for each sample of the batch, as detection models take images and targets."""

    per_sample: Part = Field(description="What each item of the list is; without a batch dimension.")


if TYPE_CHECKING:
    Part = TensorConfig | PerSample | dict[str, Any] | tuple[Any, ...]
else:  # pydantic checks the parts of a mapping or list too
    Part = TypeAliasType(
        "Part",
        Annotated[
            Annotated[TensorConfig, Tag("tensor")]
            | Annotated[PerSample, Tag("per_sample")]
            | Annotated[dict[str, "Part"], Field(json_schema_extra=_NO_TENSOR), Tag("mapping")]
            | Annotated[tuple["Part", ...], Tag("list")],
            Discriminator(_kind),
        ],
    )
    PerSample.model_rebuild()


def is_part(value: Any) -> bool:
    """Return whether `value`, as a file has it, is one part of the batch rather than a mapping of several."""
    return isinstance(value, dict) and ("shape" in value or "per_sample" in value)


def tensors_in(part: Any) -> Iterator[tuple[tuple[str | int, ...], TensorConfig]]:
    """Yield each tensor of a nested part with its path in it."""
    if isinstance(part, TensorConfig):
        yield (), part
    elif isinstance(part, PerSample):
        yield from ((("per_sample", *path), tensor) for path, tensor in tensors_in(part.per_sample))
    else:
        items = part.items() if isinstance(part, Mapping) else enumerate(part)
        yield from (((key, *path), tensor) for key, inner in items for path, tensor in tensors_in(inner))


def build(part: Any, batch_size: int, make: Callable[[TensorConfig, tuple[int, ...]], Any]) -> Any:
    """Return the structure of `part` with ``make(tensor, leading dimensions)`` in place of each tensor.

    The leading dimensions are ``(batch_size,)``, and ``()`` within `PerSample`, whose list has `batch_size` items.
    """
    return _build(part, (batch_size,), batch_size, make)


def _build(
    part: Any, leading: tuple[int, ...], batch_size: int, make: Callable[[TensorConfig, tuple[int, ...]], Any]
) -> Any:
    if isinstance(part, TensorConfig):
        return make(part, leading)
    if isinstance(part, PerSample):
        return [_build(part.per_sample, (), batch_size, make) for _ in range(batch_size)]
    if isinstance(part, Mapping):
        return {key: _build(inner, leading, batch_size, make) for key, inner in part.items()}
    return tuple(_build(inner, leading, batch_size, make) for inner in part)
