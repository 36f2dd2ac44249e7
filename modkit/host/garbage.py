"""When Python's cycle collector runs: between frames, not inside one.

A full collection over a million objects takes 160 ms, so a game freezes what it has loaded (`gc.freeze()`) and
collects the little that a frame leaves behind where there is time for it. This is a matter of the whole
process: nothing of it happens unless the game asks, and `close()` puts it back.
"""

from __future__ import annotations

import gc

__all__ = ["Garbage"]

_EVERY = 600  # ticks after which it runs without being given time
_LEAST = 0.001  # seconds left in the frame that a small collection is worth


class Garbage:
    """The collector's times. Made by a host; `settle()` takes them over."""

    def __init__(self) -> None:
        self._ours = False
        self._was_enabled = False
        self._waited = 0

    def settle(self) -> None:
        """Collect, freeze what is left, and collect from now on in `idle` alone."""
        gc.collect()
        gc.freeze()
        if not self._ours:
            self._was_enabled, self._ours = gc.isenabled(), True
            gc.disable()

    def idle(self, left: float) -> None:
        """At a frame's end, with `left` seconds to go."""
        if not self._ours:
            return
        self._waited += 1
        young, middle, _ = gc.get_threshold()
        if left < _LEAST and self._waited < _EVERY:
            return
        count = gc.get_count()
        if count[0] > young or self._waited >= _EVERY:
            gc.collect(1 if count[1] > middle or self._waited >= _EVERY else 0)
            self._waited = 0

    def close(self) -> None:
        """Leave the collector as it was found. May be called twice."""
        if self._ours:
            gc.unfreeze()
            if self._was_enabled:
                gc.enable()
            self._ours = False
