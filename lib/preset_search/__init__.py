"""Trying an editor over layers and settings, to propose a preset for a model nobody has tuned."""
