"""A GPU of any size."""

from __future__ import annotations

import pytest

from memprof.errors import DeviceError
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu, load_catalog
from memprof.gpus.generic import generic_name, generic_size


@pytest.mark.parametrize(
    ("name", "size_bytes"),
    [("24GiB", 24 * 1024**3), ("15.5 gb", 15_500_000_000), ("generic-24gib", 24 * 1024**3), ("4096mib", 4 * 1024**3)],
)
def test_generic_gpu_has_the_size_and_is_otherwise_the_default(name: str, size_bytes: int) -> None:
    spec, default = find_gpu(name), find_gpu(DEFAULT_GPU)
    assert (spec.total_bytes, spec.nvml_total_bytes) == (size_bytes, None)
    assert (spec.capability, spec.multiprocessors) == (default.capability, default.multiprocessors)
    assert "total_bytes" in spec.assumed
    assert find_gpu(spec.key) == spec


def test_generic_size_is_none_for_every_name_of_the_catalog() -> None:
    names = [name for spec in load_catalog().values() for name in (spec.key, spec.name)]
    assert [name for name in names if generic_size(name) is not None] == []
    assert [generic_size(name) for name in ("auto", "cuda:0", "80gbps", "24", "")] == [None] * 5


def test_generic_gpu_smaller_than_a_context_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"a CUDA context alone takes 534\.00 MiB; write for example 8GiB"):
        find_gpu("100MiB")


def test_generic_name_has_no_spaces() -> None:
    assert generic_name("1.5 GiB") == "generic-1.5gib"
