"""`python -m profiler` is `memprof`."""

from profiler.cli import main

if __name__ == "__main__":
    main()
