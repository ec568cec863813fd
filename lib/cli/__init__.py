"""The command line: `main` is its entry, `commands` and `training` hold what it can do."""
