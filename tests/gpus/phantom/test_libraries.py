"""cuSOLVER, cuSPARSE, cuFFT, random numbers, cuDNN and cuBLAS: what training calls succeeds, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Figures = Callable[..., Mapping[str, Any]]


@pytest.fixture(scope="module")
def libraries(figures: Figures) -> Mapping[str, Any]:
    return figures("libraries.py")


@pytest.mark.parametrize(
    ("library", "calls"),
    [("cusolver", 22), ("cusparse", 10), ("cufft", 5), ("curand", 5), ("cudnn", 14), ("cublas", 4)],
)
def test_every_call_goes_through_with_its_backward_pass(library: str, calls: int, libraries: Mapping[str, Any]) -> None:
    outcomes = libraries[library]
    assert {name: found["error"] for name, found in outcomes.items() if found["error"]} == {}
    assert len(outcomes) == calls


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("cusolver", "cholesky"),
        ("cusolver", "eigh"),
        ("cusparse", "csr @ dense"),
        ("cufft", "fft"),
        ("cudnn", "ctc, labels on the host"),
        ("cudnn", "packed LSTM"),
    ],
)
def test_modelled_workspace_counts_as_unknown(library: str, call: str, libraries: Mapping[str, Any]) -> None:
    assert libraries[library][call]["unknown"] > 0


@pytest.mark.parametrize("call", ["convolution + relu", "attention", "batch norm", "benchmark mode", "double"])
def test_workspace_that_cudnn_reports_is_not_unknown(call: str, libraries: Mapping[str, Any]) -> None:
    assert libraries["cudnn"][call]["unknown"] == 0


def test_fourier_transform_work_area_has_the_size_of_its_data(libraries: Mapping[str, Any]) -> None:
    data = (1 << 20) * 8
    assert libraries["work_area"] == 3 * data  # input, output, work area: the last is modelled


def test_a_check_for_finite_values_takes_the_path_of_zeros(libraries: Mapping[str, Any]) -> None:
    assert libraries["eigenvalues"] == "torch.linalg.eig: input tensor should not contain infs or NaNs."
