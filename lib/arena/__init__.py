"""The arena: all editors on the same facts of one model, cell by cell, in one table."""
