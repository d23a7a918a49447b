"""The input that each model of torchvision is trained with, as the metadata of its weights say, without torch.

`tests/config/test_torchvision_inputs.py` compares the sizes with the installed torchvision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_IMAGENET_SIDE, _IMAGENET_CLASSES = 224, 1000
# Classification models whose weights IMAGENET1K_V1 have another `crop_size` than 224.
_SIDES: Mapping[str, int] = MappingProxyType(
    {
        "efficientnet_b1": 240,
        "efficientnet_b2": 288,
        "efficientnet_b3": 300,
        "efficientnet_b4": 380,
        "efficientnet_b5": 456,
        "efficientnet_b6": 528,
        "efficientnet_b7": 600,
        "efficientnet_v2_l": 480,
        "efficientnet_v2_m": 480,
        "efficientnet_v2_s": 384,
        "inception_v3": 299,
        "swin_v2_b": 256,
        "swin_v2_s": 256,
        "swin_v2_t": 256,
    }
)
# Video models: the frames of a clip (`clip_len` in the documentation of the weights KINETICS400_V1) and `crop_size`.
_CLIPS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "mc3_18": (16, 112),
        "mvit_v1_b": (16, 224),
        "mvit_v2_s": (16, 224),
        "r2plus1d_18": (16, 112),
        "r3d_18": (16, 112),
        "s3d": (128, 224),
        "swin3d_b": (32, 224),
        "swin3d_s": (32, 224),
        "swin3d_t": (32, 224),
    }
)
_KINETICS_CLASSES = 400
_SEGMENTATION = re.compile(r"(fcn|deeplabv3|lraspp)_")
_SEGMENTATION_SIDE, _VOC_CLASSES = 520, 21  # `resize_size` and the categories of COCO_WITH_VOC_LABELS_V1
# These take lists of images and boxes, or two images: a config describes them with `input` and `per_sample`.
_OTHER_INPUTS = re.compile(r"(fasterrcnn|fcos|keypointrcnn|maskrcnn|raft|retinanet|ssd300|ssdlite320)_")


@dataclass(frozen=True, kw_only=True)
class VisionInput:
    """One image or clip, and how many classes; `per_pixel` if each pixel has a class of its own."""

    shape: tuple[int, ...]
    classes: int | None
    per_pixel: bool = False


def torchvision_input(name: str, side: int | None = None) -> VisionInput | None:
    """Return the input of the model of that name; ``None`` if it is not one image or clip.

    `side` replaces the size of the images. An unknown name gets ImageNet's 224x224 pixels and 1000 classes.
    """
    if _OTHER_INPUTS.match(name):
        return None
    if name in _CLIPS:
        frames, pixels = _CLIPS[name]
        return VisionInput(shape=(3, frames, side or pixels, side or pixels), classes=_KINETICS_CLASSES)
    if _SEGMENTATION.match(name):
        pixels = side or _SEGMENTATION_SIDE
        return VisionInput(shape=(3, pixels, pixels), classes=_VOC_CLASSES, per_pixel=True)
    pixels = side or _SIDES.get(name, _IMAGENET_SIDE)
    return VisionInput(shape=(3, pixels, pixels), classes=_IMAGENET_CLASSES)
