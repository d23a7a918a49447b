"""The table of inputs, compared with the metadata of the installed torchvision."""

from __future__ import annotations

import pytest

from memprof.config.torchvision_inputs import torchvision_input


def _metadata(name: str) -> tuple[str, dict[str, object], int]:
    """The kind of transform, its arguments and the number of classes of a model's first weights."""
    from torchvision import models

    weights = next(iter(models.get_model_weights(name)))
    transforms = weights.transforms
    kind = getattr(transforms, "func", transforms).__name__
    return kind, getattr(transforms, "keywords", {}), len(weights.meta.get("categories") or ())


def test_torchvision_inputs_equal_the_installed_metadata() -> None:
    from torchvision import models

    compared = 0
    for name in models.list_models():
        kind, arguments, classes = _metadata(name)
        found = torchvision_input(name)
        if name.startswith(("quantized_", "vit_h_14", "regnet_y_128gf")):  # no weights IMAGENET1K_V1
            continue
        compared += 1
        if kind in ("ObjectDetection", "OpticalFlow"):
            assert found is None, name
            continue
        assert found is not None
        side = arguments.get("crop_size") or arguments.get("resize_size")
        assert found.shape[-2:] == (side if isinstance(side, tuple) else (side, side)), name
        assert found.classes == classes, name
        assert (len(found.shape) == 4) == (kind == "VideoClassification"), name
        assert found.per_pixel == (kind == "SemanticSegmentation"), name
    assert compared > 90


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_torchvision_clips_have_the_frames_that_models_take(name: str) -> None:
    import torch
    from torchvision import models

    found = torchvision_input(name)
    assert found is not None
    with torch.device("meta"), torch.no_grad():
        assert models.get_model(name)(torch.empty(1, *found.shape)).shape == (1, found.classes)
