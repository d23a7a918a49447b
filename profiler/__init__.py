"""memprof: how much GPU memory training a PyTorch model takes, why, and how far it can go."""

__version__ = "0.1.0"
