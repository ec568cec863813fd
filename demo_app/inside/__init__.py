"""Figures that show what an edit is: ranks, changed weights, layers and overlapping keys."""
