"""The small built-in models, from tutorials on MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional


def mlp(pixels: int) -> nn.Module:
    """Return a perceptron with a hidden layer of 128 for images of `pixels` values and 10 classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 10))


class MnistCnn(nn.Module):
    """Two convolutions and two linear layers with dropout; log-probabilities of 1x28x28 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(functional.max_pool2d(self.conv1(x), 2))
        x = torch.relu(functional.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = torch.relu(self.fc1(x.flatten(1)))
        x = functional.dropout(x, training=self.training)
        return functional.log_softmax(self.fc2(x), dim=1)


class ConvRelu(nn.Module):
    """Two 5x5 convolutions, each followed by a ReLU; the input has shape (N, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 20, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x))))


FACTORIES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "mnist_mlp": lambda: mlp(1 * 28 * 28),
        "cifar_mlp": lambda: mlp(3 * 32 * 32),
        "mnist_cnn": MnistCnn,
        "cifar_conv": lambda: nn.Conv2d(3, 6, kernel_size=3),
        "pool_net": lambda: nn.MaxPool2d(kernel_size=3, ceil_mode=True),
        "conv_relu": ConvRelu,
    }
)
