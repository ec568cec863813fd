"""WISE: a side memory of one matrix, and a router that decides which of the two answers."""
