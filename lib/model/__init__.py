"""The language model.

Loading, asking, patching, and running parts of it again. Only this room imports transformers.
"""
