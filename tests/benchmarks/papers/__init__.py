"""The experiments of five papers, at three scales: `python -m tests.benchmarks.papers --help`."""
