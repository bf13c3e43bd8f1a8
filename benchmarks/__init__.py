"""What ddeep costs: every module with ``measure(settings)`` is a benchmark. ``python -m benchmarks --help``."""
