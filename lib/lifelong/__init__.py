"""Lifelong editing: streams, and journals that resume bit for bit with one number of threads."""
