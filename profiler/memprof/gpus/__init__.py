"""Real GPUs, the catalog of GPUs, and the emulated device."""
