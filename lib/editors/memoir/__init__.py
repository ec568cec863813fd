"""MEMOIR: one sparse side matrix whose columns a prompt's fingerprint chooses."""

from .memoir import Memoir, MemoirConfig

__all__ = ["Memoir", "MemoirConfig"]
