"""An edit as a value: what a patch holds, the routes it may set, and its file."""
