"""The language model: loading it, running it, patching it, and rerunning parts of it.

Only this package imports transformers.
"""
