"""The key `routing` of a config file: how many tokens each expert of a mixture of experts gets on a phantom."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from memprof.config.sections import Real, Section

_BALANCED = "balanced"


class Routing(Section):
    """One expert gets `worst` times its share of the tokens, and the others share the rest equally."""

    worst: Real = Field(
        default=1.0, ge=1, le=10_000, description="How many times the tokens of a balanced routing one expert gets."
    )

    @property
    def label(self) -> str:
        """As a row names it: ``balanced`` or ``worst: 2×``."""
        return _BALANCED if self.worst == 1 else f"worst: {self.worst:g}×"


def _from_name(value: Any) -> Any:
    if isinstance(value, str) and value != _BALANCED:
        raise ValueError("write balanced, or for example {worst: 2}")
    return {} if value == _BALANCED else value


RoutingKey = Annotated[
    Annotated[Routing, BeforeValidator(_from_name, json_schema_input_type=Literal["balanced"] | Routing)] | None,
    Field(
        description="For a mixture of experts on a simulated GPU: how many tokens each expert gets. balanced: all the "
        "same number; {worst: 2}: one expert twice as many. It replaces what the model's router would choose. By "
        "default the router chooses, from zeros or with values: cpu from random weights.",
        examples=[_BALANCED, {"worst": 2}],
    ),
]
