"""WISE: a side memory of one matrix, and a router that decides which of the two answers."""

from .settings import WiseConfig
from .wise import Wise

__all__ = ["Wise", "WiseConfig"]
