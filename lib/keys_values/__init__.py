"""Keys k, their second moment C, target values v*, and gradients at the answer.

What editors compute with.
"""
