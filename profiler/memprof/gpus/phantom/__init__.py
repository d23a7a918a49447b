"""The phantom GPU: PyTorch's real CUDA build on a CUDA runtime whose device is hollow."""
