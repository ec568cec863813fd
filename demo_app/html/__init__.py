"""Turns plain values into HTML, escaping everything that a visitor or the model wrote."""
