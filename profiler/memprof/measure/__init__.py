"""One point of a sweep on a CUDA device: run the steps, read the counters, say how it ended.

Nothing is imported here, so that a process without torch can read `memprof.records`.
"""
