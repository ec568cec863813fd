"""The web demo: change one fact in a language model, see what else changes, and undo it exactly."""
