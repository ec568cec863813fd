"""Preset search tries an editor over layers and settings, to propose a preset for a new model."""
