"""Precomputed examples, one file per model: the tabs show them until a visitor does something."""
