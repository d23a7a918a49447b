"""Measure one point of a sweep on a CUDA device: run the steps, read the counters, report how it ended.

Nothing is imported here, so that a process without torch can import `memprof.records`.
"""
