"""Preset search tries editors over layers and settings, to find presets for a new model."""
