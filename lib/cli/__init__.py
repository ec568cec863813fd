"""The command line, with one file per command and `main`, which puts them together."""
