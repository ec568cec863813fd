"""HoReN: a codebook of corrections with angular keys beside one module."""
