"""Was this model edited? Comparing weights with their base, and examining weights by themselves."""
