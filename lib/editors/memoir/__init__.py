"""MEMOIR: one sparse side matrix whose columns a prompt's fingerprint chooses."""
