"""The lifelong stress test: its plan, how it runs, and its figures."""
