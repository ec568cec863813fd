"""Instruments measure what an edit did to the model: abilities, benchmarks, depth, survival."""
