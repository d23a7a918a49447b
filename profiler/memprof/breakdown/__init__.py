"""Bytes by category: the analytic estimate, and what the peak consists of."""
