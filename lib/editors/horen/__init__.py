"""HoReN: a codebook of corrections with angular keys beside one module."""

from .horen import Horen, HorenConfig

__all__ = ["Horen", "HorenConfig"]
