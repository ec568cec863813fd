"""WISE: a side memory for one matrix, and a router deciding which of the two answers."""
