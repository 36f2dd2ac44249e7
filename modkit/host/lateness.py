"""Tells the engine when frames come late, so that it takes shorter slices for a while.

A frame is late when it comes half as long again after the last as frames here usually do. Real time, by the
host's clock; a second or more is a pause or a loading screen, not a late frame.
"""

from __future__ import annotations

__all__ = ["Lateness"]

_PAUSE = 1.0
_LEAST = 0.004


class Lateness:
    """Looks at when ticks begin."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._usual = 0.0

    def begin(self, now: float) -> float:
        """A tick begins; by how many ms it is late, 0.0 when it is not."""
        last, self._last = self._last, now
        if last is None or not 0 < now - last < _PAUSE:
            return 0.0
        gap = now - last
        usual = self._usual or gap
        self._usual = usual + (gap - usual) * (0.5 if gap < usual else 0.02)
        late = gap - usual
        return late * 1000 if late > max(_LEAST, usual / 2) else 0.0
