"""The command line: `main` is its entry, the other files hold what it can do."""
