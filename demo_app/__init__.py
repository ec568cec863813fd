"""The page: change one belief of a language model, see what else moved, undo it exactly."""
