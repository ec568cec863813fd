"""`python -m lessons monday 1 --to monday_1`: notebooks/monday.py."""

import sys

from notebooks.monday import main

sys.exit(main())
