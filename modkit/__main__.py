"""`python -m modkit` is the `modkit` command."""

from __future__ import annotations

import sys

from modkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
