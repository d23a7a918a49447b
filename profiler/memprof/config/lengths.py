"""Sizes that differ from batch to batch, such as the length of sequences: a distribution instead of a number."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from memprof.config.sections import Count, Real, Section
from memprof.errors import ConfigError

_MOST_VALUES = 100_000  # of a histogram; more would be samples rather than counts of them


class LogNormal(Section):
    """A log-normal distribution, as lengths of texts often have, cut off at `max`."""

    median: Count = Field(description="The median length.")
    sigma: Real = Field(gt=0, le=10, description="The standard deviation of the logarithm.")
    max: Count = Field(description="The largest length; longer ones are cut off, as a tokenizer does.")

    @model_validator(mode="after")
    def _median_is_possible(self) -> Self:
        if self.median > self.max:
            raise ValueError(f"median {self.median} is above max {self.max}")
        return self


class Lengths(Section):
    """How a size is distributed: values that occur, with weights, or a log-normal distribution."""

    values: Annotated[tuple[Count, ...], Field(max_length=_MOST_VALUES)] = Field(
        default=(), description="The values that occur, each as often as the others unless there are weights."
    )
    weights: tuple[Annotated[Real, Field(ge=0)], ...] = Field(
        default=(), description="How often each value occurs, in any unit."
    )
    histogram: str | None = Field(
        default=None,
        description="A CSV file, relative to the config, with a length and its count in each line, in place of values "
        "and weights.",
        examples=["lengths.csv"],
    )
    lognormal: LogNormal | None = Field(default=None, description="A log-normal distribution, in place of values.")
    per: Literal["batch", "sample"] = Field(
        default="batch",
        description="batch: a whole batch has one of these lengths. sample: each sample has one, and a batch is padded "
        "to its longest.",
    )

    @field_validator("histogram")
    @classmethod
    def _was_read(cls, name: str | None) -> None:
        if name is not None:
            raise ValueError("a histogram is read from a config file")

    @model_validator(mode="after")
    def _has_one_distribution(self) -> Self:
        if bool(self.values) == (self.lognormal is not None):
            raise ValueError("needs either values, a histogram or lognormal")
        if self.weights and (len(self.weights) != len(self.values) or not sum(self.weights)):
            raise ValueError("needs one weight for each value, and one above 0")
        return self

    @property
    def largest(self) -> int:
        """The largest length that can occur."""
        return self.lognormal.max if self.lognormal else max(self.values)

    def draw(self, generator: random.Random, batch_size: int) -> int:
        """Return the length of one batch."""
        count = 1 if self.per == "batch" else batch_size
        if self.lognormal is not None:
            spread = self.lognormal
            longest = max(generator.lognormvariate(math.log(spread.median), spread.sigma) for _ in range(count))
            return max(1, min(round(longest), spread.max))
        return max(generator.choices(self.values, self.weights or None, k=count))


def split_sizes(data: Any) -> Any:
    """Return a config's settings with the distributions in `sizes` moved to `lengths`; the largest value stays.

    Raises:
        PydanticCustomError: a distribution is impossible; it names the key.
    """
    sizes = data.get("sizes") if isinstance(data, dict) else None
    if not isinstance(sizes, Mapping):
        return data
    found = {name: _lengths(name, size) for name, size in sizes.items() if isinstance(size, list | tuple | dict)}
    if not found:
        return data
    fixed = {**sizes, **{name: lengths.largest for name, lengths in found.items()}}
    return {**data, "sizes": fixed, "lengths": {**data.get("lengths", {}), **found}}


def _lengths(name: str, value: Any) -> Lengths:
    try:
        return Lengths.model_validate(value if isinstance(value, dict) else {"values": value})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = f"{place}: {first['msg']}" if place else str(first["msg"])
        if first["loc"][:1] == ("values",):
            problem = f"{first['input']!r} is no length; write whole numbers of at least 1"
        text = problem.replace("Value error, ", "")
        raise PydanticCustomError("misfit", "{problem}", {"problem": text, "key": ("sizes", name)}) from None


def read_histograms(value: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a config's settings with the values and weights of each histogram in place of its file's name.

    Raises:
        ConfigError: a file is missing, or one of its lines is not a length and a count.
    """
    sizes = value.get("sizes")
    if not isinstance(sizes, dict):
        return dict(value)
    read = {
        name: _from_file(size, folder) if isinstance(size, dict) and isinstance(size.get("histogram"), str) else size
        for name, size in sizes.items()
    }
    return {**value, "sizes": read}


def _from_file(size: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    file = folder / size["histogram"]
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in enumerate(csv.reader(stream), 1) if any(cell.strip() for cell in row[1])]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{file}: the histogram cannot be read: {reason}") from error
    if rows and not rows[0][1][0].strip().isdigit():
        rows = rows[1:]  # the names of the columns
    if not rows:
        raise ConfigError(f"{file}: has no lines; write a length and its count in each, for example 128,5000")
    pairs = [_pair(file, number, row) for number, row in rows]
    rest = {key: item for key, item in size.items() if key != "histogram"}
    return {**rest, "values": [length for length, _ in pairs], "weights": [count for _, count in pairs]}


def _pair(file: Path, number: int, row: list[str]) -> tuple[int, float]:
    try:
        length, count = row
        return int(length), float(count)
    except ValueError:
        raise ConfigError(f"{file}:{number}: write a length and its count, for example 128,5000") from None
