"""The lifelong stress test: what it is, how it runs, and its figures."""
