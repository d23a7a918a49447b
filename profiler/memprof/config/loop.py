"""The sections of a config about the training loop around its steps: evaluation, resumed runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from memprof.config.sections import Count, Section


class EvaluationConfig(Section):
    """The evaluation between two epochs, in eval mode and without autograd."""

    batch_size: Count | None = Field(
        default=None, description="Samples in one batch of the evaluation; by default as many as in training."
    )


class ResumeConfig(Section):
    """A run that continues from a checkpoint of the model and the optimizer."""

    checkpoint: str | None = Field(
        default=None,
        min_length=1,
        description="The file, relative to the config: a dict with the state of the model (model_state_dict, model or "
        "state_dict) and of the optimizer (optimizer_state_dict or optimizer). By default memprof saves one itself.",
        examples=["checkpoint.pt"],
    )
    map_location: Literal["cpu", "cuda"] = Field(
        default="cpu", description="torch.load(map_location=...): where the tensors of the checkpoint are loaded."
    )

    @field_validator("map_location", mode="before")
    @classmethod
    def _gpu_is_called_cuda(cls, value: Any) -> Any:
        """Explain other names of the GPU: by their letters, `gpu` is nearer to `cpu`."""
        if isinstance(value, str) and value not in ("cpu", "cuda"):
            means_gpu = value.lower().startswith(("cuda", "gpu", "device"))
            raise ValueError(f"{value!r} is not one of cpu, cuda; did you mean {'cuda' if means_gpu else 'cpu'}?")
        return value


def _resume(value: Any) -> Any:
    """Return the long form of ``true``, ``false`` and of a file alone."""
    if isinstance(value, bool):
        return {} if value else None
    return {"checkpoint": value} if isinstance(value, str) else value


Resume = Annotated[
    ResumeConfig | None, BeforeValidator(_resume, json_schema_input_type=bool | str | ResumeConfig | None)
]
