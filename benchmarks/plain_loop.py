"""`python -m benchmarks.plain_loop MODEL BATCH_SIZE`: a plain training loop with a DataLoader, without memprof.

It trains on whatever CUDA device there is. The exit status is 0 if all steps ran, and 3 if the GPU ran out of memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

STEPS = 8
OUT_OF_MEMORY = 3


class Zeros(Dataset[Any]):
    """Samples of zeros: only shapes and dtypes decide what memory a step takes."""

    def __init__(self, sample: Any, length: int) -> None:
        self._sample, self._length = sample, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self._sample


def text(tokens: int, labels: int | None) -> Mapping[str, Tensor]:
    """Return one sample of token ids with a label for each of `labels` tokens, or one label in all."""
    shape = () if labels is None else (labels,)
    return {"input_ids": torch.zeros(tokens, dtype=torch.long), "labels": torch.zeros(shape, dtype=torch.long)}


def image(size: int = 224) -> tuple[Tensor, Tensor]:
    """Return one image with its class."""
    return torch.zeros(3, size, size), torch.zeros((), dtype=torch.long)


def gpt2() -> nn.Module:
    """Return GPT-2 with 124 million parameters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model: nn.Module = GPT2LMHeadModel(GPT2Config())
    return model


def bert_base() -> nn.Module:
    """Return BERT-base with a head for two classes."""
    from transformers import BertConfig, BertForSequenceClassification

    model: nn.Module = BertForSequenceClassification(BertConfig.from_dict({"num_labels": 2}))
    return model


def llama_1b() -> nn.Module:
    """Return Llama-3.2-1B in bfloat16. Its weights keep the values of fresh memory: drawing them takes minutes."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.initialization import no_init_weights

    settings: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 8192, "vocab_size": 128256, "head_dim": 64}
    settings |= {"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8}
    settings |= {"max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "tie_word_embeddings": True}
    torch.set_default_dtype(torch.bfloat16)
    with no_init_weights():
        model: nn.Module = LlamaForCausalLM(LlamaConfig(**settings))
    return model


def vision(name: str) -> Callable[[], nn.Module]:
    """Return the builder of a model of torchvision."""
    return lambda: torchvision.models.get_model(name)


Optimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
Case = tuple[Callable[[], nn.Module], Any, Optimizer, bool]  # model, sample, optimizer, autocast in bfloat16


def sgd(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Return SGD with momentum."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


CASES: Mapping[str, Case] = {
    "gpt2": (gpt2, text(512, 512), torch.optim.AdamW, True),
    "bert_base": (bert_base, text(512, None), torch.optim.AdamW, False),
    "llama_3.2_1b": (llama_1b, text(2048, 2048), torch.optim.AdamW, False),
    "vit_l_16": (vision("vit_l_16"), image(), torch.optim.AdamW, True),
    "resnet18": (vision("resnet18"), image(), sgd, False),
    "resnet50": (vision("resnet50"), image(), sgd, False),
    "vit_b_16": (vision("vit_b_16"), image(), torch.optim.AdamW, False),
}


def train(name: str, batch_size: int) -> None:
    """Train for some steps; each batch is loaded while the previous one still exists."""
    build, sample, optimizer_of, mixed = CASES[name]
    loader = DataLoader(Zeros(sample, STEPS * batch_size), batch_size=batch_size)
    model = build().cuda().train()
    optimizer = optimizer_of(model.parameters())

    def precision() -> AbstractContextManager[Any]:
        return torch.autocast("cuda", dtype=torch.bfloat16) if mixed else nullcontext()

    for batch in loader:
        if isinstance(batch, Mapping):
            inputs = {key: value.cuda() for key, value in batch.items()}
        else:
            images, classes = batch[0].cuda(), batch[1].cuda()
        optimizer.zero_grad()
        with precision():
            output = model(**inputs) if isinstance(batch, Mapping) else model(images)
            loss = output.loss if isinstance(batch, Mapping) else nn.functional.cross_entropy(output, classes)
        loss.backward()
        optimizer.step()


def main() -> int:
    """Train with the model and the batch size of the command line."""
    try:
        train(sys.argv[1], int(sys.argv[2]))
    except torch.OutOfMemoryError as error:
        print(str(error).splitlines()[0])
        return OUT_OF_MEMORY
    return 0


if __name__ == "__main__":
    sys.exit(main())
