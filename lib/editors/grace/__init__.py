"""GRACE: a codebook of corrections beside one module."""
