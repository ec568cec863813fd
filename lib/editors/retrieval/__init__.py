"""Retrieval: the nearest stored fact is put before the prompt."""

from .retrieval import Entry, Notes, Retrieval, RetrievalConfig
from .tfidf import plain

__all__ = ["Entry", "Notes", "Retrieval", "RetrievalConfig", "plain"]
