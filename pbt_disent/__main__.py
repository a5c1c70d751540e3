"""`python -m pbt_disent` is the command line."""

from __future__ import annotations

import sys

from pbt_disent.cli import main

if __name__ == "__main__":
    sys.exit(main())
