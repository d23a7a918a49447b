"""Bytes by category: what shapes and dtypes say, and what was found at the peak."""
