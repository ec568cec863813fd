"""Lifelong editing: a stream of many edits, its journal, and measurements on the way."""
