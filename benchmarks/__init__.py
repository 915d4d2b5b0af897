"""Side by side against other SNN libraries: `make bench`, or `python -m benchmarks --help`."""
