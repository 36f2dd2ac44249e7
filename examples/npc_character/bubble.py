"""Words on the screen: Sable's speech bubble, and the line the player types."""

from __future__ import annotations

import math

import pygame
from paint import Color, Type, supersampled

WIDTH = 364
PADDING = 18
READING_PACE = 75.0  # characters a second: a fast model's words are shown no faster than one can follow
_LINE = 23
_MAX_LINES = 8
_TALLEST = 2 * PADDING + 12 + _MAX_LINES * _LINE
_NARROWEST = 150
_CAP = 40  # of the shape's top and bottom that is never cut, so that the corners and the tail stay whole
_PAPER: Color = (246, 239, 222)
_INK: Color = (44, 38, 46)
_NAME: Color = (158, 62, 46)


class Bubble:
    """Her words, wrapped, in a bubble whose tail points at `mouth`; `say` adds words at any time."""

    def __init__(self, mouth: tuple[int, int]) -> None:
        self._mouth = mouth
        self._type = Type(25)
        self._small = Type(19)
        self._shape = _paint_shape()
        self._name = pygame.Surface((0, 0))
        self._lines: list[str] = []
        self._pictures: list[pygame.Surface] = []
        self._height = 1.0  # in lines; both are eased, so that the bubble grows instead of jumping
        self._width = float(_NARROWEST)
        self._waiting = ""
        self._allowance = 0.0
        self.text = ""
        self.open = False

    def begin(self, speaker: str) -> None:
        """A new speech; until its first word three dots show that she thinks."""
        self._lines, self._pictures, self._waiting, self.text = [], [], "", ""
        self._allowance = 0.0
        self._name = self._small.render(speaker.upper(), _NAME)
        self.open = True

    def say(self, words: str) -> None:
        """Add words to the speech."""
        self._waiting += words

    def close(self) -> None:
        """Let it go."""
        self.open = False

    @property
    def settled(self) -> bool:
        """True when all words that were said are shown."""
        return not self._waiting

    @property
    def box(self) -> pygame.Rect:
        """Where the paper is now, tail not included."""
        height = int(2 * PADDING + 12 + max(1.0, self._height) * _LINE)
        width = int(self._width)
        return pygame.Rect(self._mouth[0] - 46 - width, self._mouth[1] - 14 - height, width, height)

    def draw(self, target: pygame.Surface, time: float, dt: float) -> None:
        """Show what has become due, and draw the bubble."""
        if not self.open:
            self._height, self._width = 1.0, float(_NARROWEST)
            return
        self._show_more(dt)
        lines = max(1, min(len(self._lines), _MAX_LINES))
        widest = max((picture.get_width() for picture in self._pictures[-_MAX_LINES:]), default=0)
        self._height = _ease(self._height, lines, dt)
        self._width = _ease(self._width, max(_NARROWEST, min(WIDTH, widest + 2 * PADDING)), dt)
        box = self.box
        self._draw_shape(target, box)
        target.blit(self._name, (box.x + PADDING, box.y + PADDING - 5))
        top = box.y + PADDING + 13
        if not self.text.strip():
            for dot in range(3):
                bright = 0.25 + 0.55 * (0.5 + 0.5 * math.sin(time * 6 - dot * 0.9))
                shade = [int(p + (i - p) * bright) for p, i in zip(_PAPER, _INK, strict=True)]
                pygame.draw.aacircle(target, shade, (box.x + PADDING + 6 + dot * 15, top + 9), 4)
            return
        for row, picture in enumerate(self._pictures[-_MAX_LINES:]):
            if row < self._height + 0.3:
                target.blit(picture, (box.x + PADDING, top + row * _LINE))

    def _draw_shape(self, target: pygame.Surface, box: pygame.Rect) -> None:
        """The largest bubble, with pieces of its middle left out."""
        shape, foot = self._shape, 22 + _CAP
        right = box.width + 54 - _CAP
        for x, left, wide in ((box.x - 8, 0, _CAP), (box.x - 8 + _CAP, WIDTH + 54 - right, right)):
            target.blit(shape, (x, box.y - 8), (left, 0, wide, box.height + 30 - foot))
            target.blit(shape, (x, box.bottom + 22 - foot), (left, _TALLEST + 30 - foot, wide, foot))

    def _show_more(self, dt: float) -> None:
        self._allowance = min(self._allowance + READING_PACE * dt, 12.0) if self._waiting else 0.0
        shown = self._waiting[: int(self._allowance)]
        if shown:
            self._allowance -= len(shown)
            self._waiting = self._waiting[len(shown) :]
            self.text += shown
            self._wrap(shown)

    def _wrap(self, words: str) -> None:
        """Go on in the last line; only lines that changed are drawn again."""
        line = (self._lines.pop() if self._lines else "") + words
        if not self._lines:
            line = line.lstrip()
        del self._pictures[len(self._lines) :]
        while True:
            paragraph, broken, rest = line.partition("\n")
            cut = self._fitting(paragraph)
            if cut < len(paragraph):
                self._add(paragraph[:cut])
                line = line[cut:].lstrip(" ")
            elif broken:
                self._add(paragraph)
                line = rest
            else:
                self._add(paragraph)
                return

    def _fitting(self, text: str) -> int:
        """How many characters of `text` fit into a line, whole words if possible."""
        room = WIDTH - 2 * PADDING
        if self._type.width(text.rstrip()) <= room:
            return len(text)
        cut = len(text)
        while cut > 1 and self._type.width(text[:cut].rstrip()) > room:
            space = text.rfind(" ", 0, cut - 1)
            cut = space if space > 0 else cut - 1
        return cut

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._pictures.append(self._type.render(line.rstrip(), _INK))


def _ease(now: float, wanted: float, dt: float) -> float:
    step = (wanted - now) * min(1.0, 16 * dt)
    return float(wanted) if abs(wanted - now - step) < 0.05 else now + step


def _paint_shape() -> pygame.Surface:
    def paint(s: pygame.Surface, k: int) -> None:
        right, bottom = 8 + WIDTH, 8 + _TALLEST
        for spread in range(6, 0, -1):
            size = ((WIDTH + 2 * spread) * k, (_TALLEST + 2 * spread) * k)
            rect = pygame.Rect(((8 - spread) * k, (11 - spread) * k), size)
            pygame.draw.rect(s, (0, 0, 8, 8 * (7 - spread)), rect, border_radius=(16 + spread) * k)
        pygame.draw.rect(s, _PAPER, (8 * k, 8 * k, WIDTH * k, _TALLEST * k), border_radius=16 * k)
        tail = [(right - 52, bottom - 4), (right + 36, bottom + 16), (right - 20, bottom - 4)]
        pygame.draw.polygon(s, _PAPER, [(x * k, y * k) for x, y in tail])

    return supersampled((WIDTH + 54, _TALLEST + 30), paint, 3, alpha=True).convert_alpha()


class InputLine:
    """What the player types, at the bottom of the window."""

    HINT = "Ask Sable something, then press Enter"

    def __init__(self, hint: str = HINT) -> None:
        self._type = Type(23)
        small = Type(18)
        self._hint = hint
        self._strip = pygame.Surface((928, 32), pygame.SRCALPHA)
        pygame.draw.rect(self._strip, (10, 12, 22, 205), self._strip.get_rect(), border_radius=10)
        pygame.draw.rect(self._strip, (86, 92, 116, 150), self._strip.get_rect(), 1, border_radius=10)
        self._you = small.render("YOU", (236, 186, 112))
        self._keys = small.render("Esc  leave     F1  figures", (104, 112, 136))
        self._picture: tuple[tuple[str, bool], pygame.Surface] | None = None
        self.text = ""
        self.said = ""

    def type(self, signs: str) -> None:
        """Add what was typed, up to 200 characters."""
        self.text = (self.text + "".join(s for s in signs if s.isprintable()))[:200]

    def erase(self) -> None:
        """Take back the last character."""
        self.text = self.text[:-1]

    def send(self) -> str:
        """Take the line out; it stays visible, dimmed, until something new is typed."""
        self.said, self.text = self.text.strip(), ""
        return self.said

    def draw(self, target: pygame.Surface, time: float) -> None:
        """Draw the strip with the line, or with what was said last, or with a hint."""
        shown, live = (self.text, True) if self.text else (self.said or self._hint, False)
        if self._picture is None or self._picture[0] != (shown, live):
            color = (238, 240, 246) if live else (190, 195, 210) if self.said else (118, 126, 150)
            self._picture = ((shown, live), self._type.render(shown, color))
        target.blit(self._strip, (16, 500))
        target.blit(self._you, (32, 510))
        picture = self._picture[1]
        room = 850 if live else 650
        cut = max(0, picture.get_width() - room)
        target.blit(picture, (74, 508), (cut, 0, room, 24))
        if live and time % 1 < 0.6:
            x = 76 + picture.get_width() - cut
            pygame.draw.line(target, (236, 186, 112), (x, 508), (x, 523), 2)
        if not live:
            target.blit(self._keys, (928 - self._keys.get_width(), 510))
