"""Reproduce figures that other projects published, and write docs/published.md."""
