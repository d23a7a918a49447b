"""A model without host memory takes on the GPU, to the byte and at the same place, what one built on the CPU takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memprof.breakdown.analytic.breakdown import bytes_of
from memprof.workload.meta import host_bytes, is_on_meta, move_to_device
from memprof.workload.precision import in_dtype

BOTH = """
import json, torch
from torch import nn
from torchvision import models
from memprof.workload.meta import move_to_device

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 64)
        self.head = nn.Linear(64, 1000, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
        self.register_buffer("ids", torch.arange(512))

def hub(name, **kwargs):
    import transformers
    kind = getattr(transformers, name)
    return lambda: kind(kind.config_class(**kwargs))

CASES = {"resnet18": models.resnet18, "swin_t": models.swin_t, "tied": Tied}
if HUB:
    CASES["gpt2"] = hub("GPT2LMHeadModel", n_layer=2)
    CASES["bert"] = hub("BertForSequenceClassification", num_hidden_layers=2)
    CASES["llama"] = hub("LlamaForCausalLM", num_hidden_layers=2, hidden_size=256, intermediate_size=512)

def layout(model):
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    first = min(tensor.data_ptr() for _, tensor in tensors)
    places = {name: (tensor.data_ptr() - first, str(tensor.dtype), tensor.requires_grad) for name, tensor in tensors}
    stats = torch.cuda.memory_stats()
    keys = ("requested_bytes", "allocated_bytes", "reserved_bytes")
    return places, [stats[f"{key}.all.current"] for key in keys]

found = {}
for name, build in CASES.items():
    for dtype in (torch.float32, torch.bfloat16):
        results = []
        for on_meta in (False, True):
            with torch.device("meta" if on_meta else "cpu"):
                model = build()
            model = move_to_device(model.to(dtype), torch.device("cuda", 0))
            results.append(layout(model))
            del model
            torch.cuda.empty_cache()
        found[f"{name} {dtype}"] = results[0] == results[1] and results[0][1][0] > 0
print(json.dumps(found))
"""


def is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def test_a_meta_model_lies_in_memory_as_one_from_the_cpu(run_on_phantom: Callable[..., Any]) -> None:
    done = run_on_phantom(f"HUB = {is_installed('transformers')}\n{BOTH}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) >= 6
    assert found == dict.fromkeys(found, True)


def test_a_model_with_values_moves_as_torch_moves_it() -> None:
    model = nn.Linear(2, 3)
    weight = model.weight
    assert move_to_device(model, torch.device("cpu")).weight is weight
    assert not is_on_meta(model)


def test_shared_parameters_count_once() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = model[0].weight
    assert is_on_meta(model)
    assert host_bytes(model) == 8 * 8 * 4


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers_become_zeros_that_are_valid_indices(dtype: torch.dtype) -> None:
    model = nn.Module()
    model.register_buffer("index", torch.empty(5, dtype=dtype, device="meta"))
    moved = move_to_device(model, torch.device("cpu")).index
    assert isinstance(moved, torch.Tensor)
    assert not moved.any()


class Shared(nn.Module):
    """Layers that use one module, as a rotary embedding is used; those before them leave ids that can be used again."""

    def __init__(self) -> None:
        super().__init__()
        angles = nn.Module()
        for number in range(20):
            angles.register_buffer(f"theta{number}", torch.arange(4.0))
        self.first = nn.ModuleList(nn.Linear(2, 2) for _ in range(100))
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(100))
        for layer in self.layers:
            layer.angles = angles


def test_shared_module_moves_once_and_keeps_buffers() -> None:
    with torch.device("meta"):
        model = Shared()
    move_to_device(model, torch.device("cpu"))
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert [type(buffer) for _, buffer in model.named_buffers()] == [torch.Tensor] * 20
    assert len(list(model.parameters())) == 400


class Packed(Tensor):
    """A bfloat16 weight that is kept as bytes, and that becomes an ordinary tensor if it is converted."""

    @staticmethod
    def __new__(cls, packed: Tensor, shape: torch.Size) -> Packed:
        made: Packed = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.bfloat16, device=packed.device)
        return made

    def __init__(self, packed: Tensor, _shape: torch.Size) -> None:
        self.packed = packed

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["packed"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], _settings: None, size: torch.Size, _stride: object) -> Packed:
        return Packed(inner["packed"], size)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types, kwargs
        if function is torch.ops.aten.detach.default:
            return Packed(args[0].packed, args[0].shape)
        return torch.zeros(args[0].shape, dtype=torch.bfloat16, device=args[0].device)


def packed_layer() -> nn.Module:
    layer = nn.Linear(64, 32, bias=False, device="meta")
    packed = Packed(torch.zeros(1024, dtype=torch.uint8, device="meta"), layer.weight.shape)
    layer.weight = nn.Parameter(packed, requires_grad=False)
    return layer


def test_weight_made_of_other_tensors_moves_with_its_parts() -> None:
    moved = move_to_device(packed_layer(), torch.device("cpu")).weight
    assert isinstance(moved, Packed)
    assert (moved.shape, moved.requires_grad) == ((32, 64), False)
    assert (moved.packed.device.type, moved.packed.dtype, moved.packed.numel()) == ("cpu", torch.uint8, 1024)


def test_weight_made_of_other_tensors_counts_their_bytes() -> None:
    assert host_bytes(packed_layer()) == 1024
    assert bytes_of(packed_layer().parameters()) == 1024


def test_weight_made_of_other_tensors_stays_packed_in_its_dtype() -> None:
    model = nn.Sequential(packed_layer(), nn.Linear(8, 8))
    converted = in_dtype(model, torch.bfloat16)
    packed, ordinary, _ = converted.parameters()
    assert isinstance(packed, Packed)
    assert ordinary.dtype == torch.bfloat16
