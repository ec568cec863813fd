"""Measuring the effects of an edit on the model: abilities, benchmarks, depth, survival."""
