"""The worker server: a process that loads torch once and forks a child for each point of a sweep.

Nothing is imported here, so that a process without torch can read `memprof.worker.protocol`.
"""
