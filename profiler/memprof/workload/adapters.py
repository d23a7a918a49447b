"""Add an adapter of peft to a model: small trained weights next to the frozen ones."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import nn

from memprof.config.schema import Kwargs, SweepConfig
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.meta import is_on_meta
from memprof.workload.reason import reason

# peft's name of the task by the end of a class's name: peft.utils.peft_types.TaskType.
_TASKS = {
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    "Seq2SeqLM": "SEQ_2_SEQ_LM",
}
_AUTOCAST = "autocast_adapter_dtype"  # an argument of get_peft_model, which keeps the adapter's weights in float32


def add_adapter(model: nn.Module, config: SweepConfig) -> nn.Module:
    """Return `model` with the adapter of the config, as `peft.get_peft_model` returns it; only the adapter is trained.

    Raises:
        WorkloadError: peft is not installed, has no such method, refuses the keyword arguments, or a target matches no
            module of the model.
    """
    method, kwargs = next(iter((config.adapter or {}).items()))
    peft = _peft()
    kind = _configuration(peft, method)
    task = next((task for end, task in _TASKS.items() if type(model).__name__.endswith(end)), None)
    defaults = {"task_type": task} if task and "task_type" in inspect.signature(kind).parameters else {}
    arguments = {**defaults, **kwargs}
    options = {_AUTOCAST: arguments.pop(_AUTOCAST)} if _AUTOCAST in arguments else {}
    check_targets(model, method, arguments)
    try:
        with warnings.catch_warnings(), torch.device("meta") if is_on_meta(model) else nullcontext():
            warnings.simplefilter("ignore")
            adapted: nn.Module = peft.get_peft_model(model, kind(**arguments), **options)
    except Exception as error:
        why = reason(error).rstrip(".")
        raise WorkloadError(f"adapter {method!r} cannot be added: {why}{_targets_hint(error, model)}") from error
    _give_prompts_their_indices(adapted)
    return adapted.train(model.training)


def _give_prompts_their_indices(adapted: nn.Module) -> None:
    """Replace the indices of virtual tokens on the meta device: they are no buffers, so nothing moves them later."""
    prompts = getattr(adapted, "prompt_tokens", {})
    for name, tokens in prompts.items():
        prompts[name] = torch.arange(tokens.numel())


def check_targets(model: nn.Module, method: str, arguments: Kwargs) -> None:
    """Check that each name in a list of target modules is one of the model, or the end of one, as peft compares them.

    Raises:
        WorkloadError: a name matches no module; the text has one that exists.
    """
    paths = [path for path, _ in model.named_modules() if path]
    for key in ("target_modules", "modules_to_save"):
        names = arguments.get(key)
        for name in names if isinstance(names, Sequence) and not isinstance(names, str) else ():
            if not any(path == name or path.endswith(f".{name}") for path in paths):
                hint = did_you_mean(str(name), _leaves(model)) or _example(model)
                raise WorkloadError(f"adapter {method!r}: {key}: {name!r} matches no module of the model{hint}")


def _targets_hint(error: Exception, model: nn.Module) -> str:
    return _example(model) if "target" in str(error).lower() and "modules" in str(error) else ""


def _example(model: nn.Module) -> str:
    linear = [path.rpartition(".")[2] for path, part in model.named_modules() if isinstance(part, nn.Linear) and path]
    shown = list(dict.fromkeys(linear or _leaves(model)))[:3]
    return f"; modules of this model are {', '.join(shown)}" if shown else ""


def _leaves(model: nn.Module) -> list[str]:
    """Return the last names of the modules that have parameters of their own."""
    named = (path for path, part in model.named_modules() if path and part._parameters)
    return list(dict.fromkeys(path.rpartition(".")[2] for path in named))


def _peft() -> ModuleType:
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise WorkloadError(f"adapter: needs peft: {reason(error)}; run: pip install peft") from error


def _configuration(peft: ModuleType, method: str) -> Any:
    """Return the configuration class of a method: ``lora`` and ``LoraConfig`` are the same."""
    kinds: Mapping[Any, Any] = importlib.import_module("peft.mapping").PEFT_TYPE_TO_CONFIG_MAPPING
    by_name = {str(getattr(key, "value", key)).lower(): kind for key, kind in kinds.items()}
    classes = {kind.__name__: kind for kind in by_name.values()}
    found = by_name.get(method.lower()) or classes.get(method)
    if found is None:
        hint = did_you_mean(method, [*by_name, *classes]) or f"; the methods are {', '.join(sorted(by_name))}"
        raise WorkloadError(f"adapter {method!r} is no method of peft {peft.__version__}{hint}")
    return found
