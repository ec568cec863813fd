"""An edit as a value: the patch, the code that a patch may hold, and the file of a patch."""
