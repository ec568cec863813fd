"""The command line: `main` is its entry point, the other files contain its commands."""
