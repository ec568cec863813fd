"""MEMOIR: one sparse side matrix whose columns are chosen by a prompt's fingerprint."""
