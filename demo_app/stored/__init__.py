"""Finished examples, one file per model: what the tabs show before a visitor has done anything."""
