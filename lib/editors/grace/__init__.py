"""GRACE: a codebook of corrections beside one module."""

from .grace import Grace, GraceConfig

__all__ = ["Grace", "GraceConfig"]
