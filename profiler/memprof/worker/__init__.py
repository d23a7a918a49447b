"""The worker server: a process that imports PyTorch once and forks a child for each point.

Nothing is imported here, so that a process without PyTorch can import `memprof.worker.protocol`.
"""
