"""Retrieval: the nearest stored fact is prepended to the prompt."""
