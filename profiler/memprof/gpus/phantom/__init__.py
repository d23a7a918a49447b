"""The phantom: PyTorch's real CUDA build on an emulated CUDA driver. Memory is tracked, kernels do not run."""
