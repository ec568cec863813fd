"""The entry point of the command line, `python -m lib`; see `python -m lib --help`."""

import sys

from .workbench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
