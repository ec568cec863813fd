"""GRACE: a codebook of corrections for one module."""
