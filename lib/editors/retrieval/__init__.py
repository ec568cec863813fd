"""Retrieval: the nearest stored fact is put before the prompt."""
