"""The `modkit` command. The door of the room: `main`."""

from modkit.cli.command import main

__all__ = ["main"]
