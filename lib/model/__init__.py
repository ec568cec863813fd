"""The language model: loading it, asking it, patching it, and running parts of it again.

Only this room imports transformers.
"""
