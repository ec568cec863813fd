"""The entry of the command line, `python -m lib`; `python -m lib --help` lists its commands."""

import sys

from .workbench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
