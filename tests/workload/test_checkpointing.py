"""Which parts of a model are blocks, and that checkpointing them changes only memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from memprof.errors import WorkloadError
from memprof.workload.checkpointing import (
    checkpoint_blocks,
    checkpointed,
    enable_own_checkpointing,
    find_blocks,
    modules_with_own_checkpointing,
)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", {"BasicBlock": 8}),
        ("resnet50", {"Bottleneck": 16}),
        ("vit_b_16", {"EncoderBlock": 12}),
        ("swin_t", {"Sequential": 1, "SwinTransformerBlock": 12, "PatchMerging": 3}),
        ("mobilenet_v2", {"Conv2dNormActivation": 2, "InvertedResidual": 17}),
        ("vgg11", {}),
    ],
)
def test_find_blocks_equal_those_of_papers(name: str, blocks: dict[str, int]) -> None:
    with torch.device("meta"):
        model = models.get_model(name)
    assert Counter(type(block).__name__ for block in find_blocks(model)) == blocks


def test_checkpoint_blocks_every_second_from_first() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(5)))
    checkpoint_blocks(model, 2, "five")
    assert ["forward" in vars(block) for block in model] == [True, False, True, False, True]
    assert len(list(checkpointed(model))) == 3


def test_checkpoint_blocks_wraps_shared_block_once() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = nn.Sequential(nn.ModuleDict({"a": block}), nn.ModuleDict({"b": block}))
    checkpoint_blocks(model, 1, "shared")
    assert [forward.run.__self__ for forward in checkpointed(model)] == [block]  # type: ignore[attr-defined]


def test_checkpoint_blocks_keeps_gradients_equal() -> None:
    def gradients(*every: int) -> list[Any]:
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Tanh()) for _ in range(3)))
        for n in every:
            checkpoint_blocks(model, n, "three")
        model(torch.ones(2, 4)).sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    torch.testing.assert_close(gradients(1), gradients())


def test_checkpoint_blocks_without_blocks_is_refused() -> None:
    with pytest.raises(WorkloadError) as caught:
        checkpoint_blocks(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), 1, "mnist_mlp")
    assert str(caught.value) == (
        "model 'mnist_mlp' has no blocks to checkpoint: none of its nn.Sequential, nn.ModuleList and nn.ModuleDict "
        "parts has a module that contains layers; leave out activation_checkpointing"
    )


class OwnCheckpointing(nn.Sequential):
    """A model with a method of the given name, as transformers, diffusers and timm have one."""

    def __init__(self, method: str) -> None:
        super().__init__(nn.Linear(2, 2))
        self.calls = 0
        setattr(self, method, self._enable)

    def _enable(self) -> None:
        self.calls += 1


@pytest.mark.parametrize(
    "method",
    ["gradient_checkpointing_enable", "activation_checkpointing_enable", "enable_gradient_checkpointing"],
)
def test_own_checkpointing_calls_method_of_the_model(method: str) -> None:
    model = OwnCheckpointing(method)
    enable_own_checkpointing(model, "own")
    assert model.calls == 1


def test_own_checkpointing_without_method_is_refused() -> None:
    with pytest.raises(WorkloadError) as caught:
        enable_own_checkpointing(nn.Linear(2, 2), "mnist_mlp")
    assert str(caught.value) == (
        "model 'mnist_mlp' has no gradient checkpointing of its own; write activation_checkpointing: 1 instead"
    )


def test_own_checkpointing_of_transformers_recomputes_layers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (the extra is `hub`)")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, **sizes)).train()
    enable_own_checkpointing(model, "llama")
    layers = [part for part, _ in modules_with_own_checkpointing(model) if type(part).__name__ == "LlamaDecoderLayer"]
    assert len(layers) == 3
    assert model.config.use_cache is False
    runs = Counter[str]()
    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: runs.update(["mlp"]))
    model(input_ids=torch.zeros(1, 4, dtype=torch.int64), labels=torch.zeros(1, 4, dtype=torch.int64)).loss.backward()
    assert runs["mlp"] == 2 * 3
