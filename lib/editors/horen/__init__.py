"""HoReN: a codebook of corrections for one module, using angular keys."""
