"""Notebooks of the course: reviewed sources in src, stored rows in data, and the built files."""
