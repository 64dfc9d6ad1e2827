"""Side-by-side timings in one process: ``python -m benchmarks.NAME``. The last line is ``ratio: …``."""
