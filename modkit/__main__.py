"""`python -m modkit`, and the `modkit` command that an installation makes."""

from __future__ import annotations

import sys

__all__ = ["start"]


def start() -> int:
    """The command line of this process; its exit code."""
    try:
        from modkit.cli import main

        return main()
    except KeyboardInterrupt:  # while the command was still being imported
        return 130


if __name__ == "__main__":
    sys.exit(start())
