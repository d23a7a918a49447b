"""A small classifier. It stands for the model of your project."""

from torch import nn


def build(width: int = 512) -> nn.Module:
    """Build the model on the CPU. memprof moves it to the GPU."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, width), nn.ReLU(), nn.Linear(width, 10))
