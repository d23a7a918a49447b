"""The attention kernel that is selected, shown by the bytes that it saves: those of torch 2.15 on a phantom A100."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from memprof.breakdown.analytic.fake_cuda import FakeCudaModel, device_storages
from memprof.breakdown.analytic.kernels import cuda_kernels


def saved(dtype: torch.dtype, size: int, keys: int, heads: int = 4, mask: torch.dtype | None = None, **how: Any) -> int:
    """Return the bytes saved by attention of 2 samples, 4 heads and 37 queries."""
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages.update(device_storages((tensor,)))
        return tensor

    with FakeCudaModel(torch.nn.Identity()).active(), cuda_kernels(torch.nn.Identity()):
        shapes = [(2, 4, 37, size), (2, heads, keys, size), (2, heads, keys, size)]
        query, key, value = (torch.empty(one, device="cuda", dtype=dtype, requires_grad=True) for one in shapes)
        attn_mask = None if mask is None else torch.empty(37, keys, device="cuda", dtype=mask)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, enable_gqa=heads != 4, **how)
    return sum(storage.nbytes() for storage in storages.values())


F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        (229_392, {"dtype": F32, "size": 64, "keys": 37, "heads": 2}),  # memory-efficient, grouped queries
        (311_088, {"dtype": F32, "size": 64, "keys": 37, "mask": torch.bool}),  # a mask in rows of 40
        (156_576, {"dtype": BF16, "size": 64, "keys": 37, "mask": torch.bool}),
        (
            176_144,
            {"dtype": BF16, "size": 64, "keys": 48, "is_causal": True},
        ),  # causal flash needs a square
        (
            197_280,
            {"dtype": BF16, "size": 33, "keys": 48, "is_causal": True, "heads": 4},
        ),  # plain: 33 is no multiple
    ],
)
def test_attention_saves_same_bytes_as_cuda(expected: int, arguments: dict[str, Any]) -> None:
    assert saved(**arguments) == expected


def test_attention_flash_saves_no_scores() -> None:
    # Query, key, value and output in 2 bytes; one float32 per query; the generator's state in 24 bytes.
    assert saved(BF16, 64, 37) == 4 * (2 * 4 * 37 * 64) * 2 + 2 * 4 * 37 * 4 + 24


def test_attention_respects_backend_settings() -> None:
    backend = torch.nn.attention.SDPBackend
    scores = 2 * 4 * 37 * 480 * 2  # only the math kernel keeps them
    with torch.nn.attention.sdpa_kernel(backend.MATH):
        plain = saved(BF16, 64, 480)
    with torch.nn.attention.sdpa_kernel(backend.EFFICIENT_ATTENTION):
        efficient = saved(BF16, 64, 480)
    assert plain > efficient + scores
    assert efficient > saved(BF16, 64, 480)
