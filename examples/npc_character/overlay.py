"""The small overlay: frame time, tick time and words per second, as figures and as lines that scroll.

A frame adds one column to each line and moves the rest by one pixel, so the overlay costs the same however long
it runs. Every figure it was given is also kept, in arrays made beforehand, for the report at the end.
"""

from __future__ import annotations

from array import array
from collections import deque

import pygame
from paint import Color, Type

WIDTH = 250
HEIGHT = 116
_PLOT = (94, 24)
_GROUND: Color = (16, 19, 32)


class Meter:
    """A series of integers (nanoseconds), in an array that is never made larger."""

    def __init__(self, capacity: int) -> None:
        self._values = array("q", bytes(8 * capacity))
        self._count = 0

    def add(self, value: int) -> None:
        """Keep a value; once the array is full, the oldest are overwritten."""
        self._values[self._count % len(self._values)] = value
        self._count += 1

    def values(self) -> list[int]:
        """What was kept."""
        return list(self._values[: min(self._count, len(self._values))])


def percentiles(nanoseconds: list[int], unit: float) -> dict[str, float]:
    """p50, p99 and max of a series, divided by `unit` (1e6: milliseconds); the numbers of samples beside them."""
    ordered = sorted(nanoseconds)
    if not ordered:
        return {"samples": 0}

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / unit, 3)

    return {"p50": at(0.50), "p99": at(0.99), "max": round(ordered[-1] / unit, 3), "samples": len(ordered)}


class _Line:
    """One row: a name, a figure, and its plot up to a ceiling, which `grows` or cuts off."""

    def __init__(
        self, name: str, unit: str, color: Color, ceiling: float, digits: int, *, grows: bool = False
    ) -> None:
        self.grows = grows
        self.name, self.unit, self.color, self.ceiling, self.digits = name, unit, color, ceiling, digits
        self.plot = pygame.Surface(_PLOT)
        self.plot.fill(_GROUND)
        self.figure = pygame.Surface((0, 0))
        self._dim = tuple(c // 4 + 10 for c in color)
        self._columns: deque[float | None] = deque(maxlen=_PLOT[0])
        self._last: int | None = None
        self._sum, self._seen, self._text = 0.0, 0, ""

    def add(self, value: float | None) -> None:
        """One more column; None is a gap. A value above the ceiling raises it, and all is drawn anew."""
        self._columns.append(value)
        if value is not None:
            self._sum += value
            self._seen += 1
            if self.grows and value > self.ceiling:
                self.ceiling = 1.3 * value
                self.plot.fill(_GROUND)
                self._last = None
                for old in self._columns:
                    self._draw(old)
                return
        self._draw(value)

    def _draw(self, value: float | None) -> None:
        plot, x, high = self.plot, _PLOT[0] - 1, _PLOT[1]
        plot.scroll(-1, 0)
        pygame.draw.line(plot, _GROUND, (x, 0), (x, high))
        if value is None:
            self._last = None
            return
        y = high - 2 - round(min(1.0, value / self.ceiling) * (high - 4))
        pygame.draw.line(plot, self._dim, (x, y), (x, high - 1))
        low = y if self._last is None else self._last
        pygame.draw.line(plot, self.color, (x, min(y, low)), (x, max(y, low)))
        self._last = y

    def refresh(self, font: Type) -> None:
        """Draw the figure again: the mean since the last time."""
        if self._seen:
            text = f"{self._sum / self._seen:.{self.digits}f} {self.unit}"
            self._sum, self._seen = 0.0, 0
        else:
            text = self._text or f"- {self.unit}"
        if text != self._text:
            self._text = text
            self.figure = font.render(text, (232, 235, 244))


class Overlay:
    """Three lines in the corner. `frame` and `tick` take nanoseconds, `speech` tokens per second."""

    def __init__(self) -> None:
        self._font = Type(20)
        self._frame = _Line("frame work", "ms", (124, 196, 255), 16.7, 2)
        self._tick = _Line("host.tick", "µs", (152, 232, 170), 200.0, 0)
        self._speech = _Line("speech", "tok/s", (255, 190, 110), 20.0, 0, grows=True)
        self._lines = (self._frame, self._tick, self._speech)
        self._labels = [self._font.render(line.name, (158, 168, 192)) for line in self._lines]
        self._panel = pygame.Surface((WIDTH, HEIGHT), pygame.SRCALPHA)
        pygame.draw.rect(self._panel, (10, 12, 22, 190), self._panel.get_rect(), border_radius=10)
        pygame.draw.rect(self._panel, (86, 92, 116, 130), self._panel.get_rect(), 1, border_radius=10)
        self._count = 0
        self._spoke = False
        self.visible = True

    def add(self, frame_ns: int, tick_ns: int, speech: float | None) -> None:
        """One frame's figures; `speech` is None while nobody speaks."""
        self._frame.add(frame_ns / 1e6)
        self._tick.add(tick_ns / 1e3)
        if speech is not None or self._spoke:  # silence is one gap, however long it lasts
            self._speech.add(speech)
        self._spoke = speech is not None
        if self._count % 12 == 0:
            for line in self._lines:
                line.refresh(self._font)
        self._count += 1

    def draw(self, target: pygame.Surface) -> None:
        """Draw the panel in the top left corner."""
        if not self.visible:
            return
        target.blit(self._panel, (16, 16))
        for row, line in enumerate(self._lines):
            y = 26 + row * 34
            target.blit(self._labels[row], (28, y))
            target.blit(line.figure, (28, y + 14))
            target.blit(line.plot, (158, y + 2))
