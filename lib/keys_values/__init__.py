"""The quantities that editors compute with, read from a model or found by searching.

These are keys k, their second moment C over general text and its null space, target values v*, and
gradients at the answer with their running moments.
"""
