"""Real GPUs, the catalog of GPUs, and the phantom: an emulated CUDA device."""
