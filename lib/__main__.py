"""`python -m lib`: the command line; `python -m lib --help` teaches it."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
