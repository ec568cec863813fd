"""Was this model edited? Weights compared with their base, and weights looked at alone."""
