"""Lifelong editing: streams, and journals that go on bit for bit with one number of threads."""
