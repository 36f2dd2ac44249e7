"""Looks for changes in the mods' files, for authors: a mod is reloaded a moment after it was saved.

A thread of its own compares times and sizes, and reads and compiles what changed; the frame only exchanges. It waits
until a change has settled, because an editor writes a file in more than one step.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from modkit.host.loading import fingerprint

if TYPE_CHECKING:
    from modkit.host.roster import Roster

__all__ = ["Watch"]

_STEP = 0.3  # seconds between two looks


class Watch:
    """Watches the sources of a roster's mods, also of those that did not load. Ends with `close()`."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._seen = {ident: fingerprint(source) for ident, source in roster.sources.items()}
        self._moving: dict[str, tuple[object, ...]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modkit-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(_STEP):
            for ident, source in list(self._roster.sources.items()):
                self._look(ident, source)

    def _look(self, ident: str, source: Path) -> None:
        now = fingerprint(source)
        if ident not in self._seen:
            self._seen[ident] = now
        elif now == self._seen[ident]:
            self._moving.pop(ident, None)
        elif self._moving.get(ident) == now and now:  # the same twice: it is written
            self._seen[ident] = now
            del self._moving[ident]
            self._roster.prepare(ident, source)
        else:
            self._moving[ident] = now

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._closing.set()
        self._thread.join(5.0)
