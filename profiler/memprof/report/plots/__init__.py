"""Plots of results: the data model (`elements`), what builds it, its colors, and the two drawing backends.

Only `matplotlib_backend` imports matplotlib, and only `text` imports plotext.
"""
