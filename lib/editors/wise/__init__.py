"""WISE: a side memory for one matrix, and a router that decides which of the two answers."""
