"""An edit as a value: the patch, the code that a patch may contain, and the patch file."""
