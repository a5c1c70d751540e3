"""`python -m pbt_disent` is the command line."""

from __future__ import annotations

from pbt_disent.cli import entry

if __name__ == "__main__":
    entry()
