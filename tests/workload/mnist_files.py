"""Files in the format of MNIST, with made-up pixels: what a step takes does not depend on them."""

from __future__ import annotations

import random
import struct
from pathlib import Path


def write_mnist(root: Path, images: int = 1500) -> None:
    """Write the two files of the training part, with `images` images, where torchvision looks for them."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    made_up = random.Random(0)
    for name in ("train", "t10k"):
        pixels, labels = made_up.randbytes(images * 784), bytes(made_up.randrange(10) for _ in range(images))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, images, 28, 28) + pixels)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, images) + labels)
