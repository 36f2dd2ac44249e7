"""Small tools of the painter: gradients, soft glows, and painting large to scale down smooth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pygame

Color = tuple[int, int, int]


def lerp(a: float, b: float, part: float) -> float:
    """The number `part` of the way from `a` to `b`."""
    return a + (b - a) * part


def lerp_color(a: Color, b: Color, part: float) -> Color:
    """The colour `part` of the way from `a` to `b`."""
    return (int(lerp(a[0], b[0], part)), int(lerp(a[1], b[1], part)), int(lerp(a[2], b[2], part)))


def gradient(size: tuple[int, int], stops: Sequence[tuple[float, Color]]) -> pygame.Surface:
    """A vertical gradient through (place 0 to 1, colour) stops."""
    strip = pygame.Surface((1, size[1]))
    for y in range(size[1]):
        part = y / max(1, size[1] - 1)
        for (p0, c0), (p1, c1) in pairwise(stops):
            if p0 <= part <= p1:
                share = (part - p0) / (p1 - p0)
                strip.set_at((0, y), [int(lerp(a, b, share)) for a, b in zip(c0, c1, strict=True)])
                break
    return pygame.transform.scale(strip, size)


_glows: dict[tuple[int, Color, float], pygame.Surface] = {}


def soft_glow(radius: int, color: Color, strength: float) -> pygame.Surface:
    """A round light for adding onto a picture: `strength` of `color` in the middle, nothing at the rim."""
    key = (radius, color, strength)
    if key not in _glows:
        detail = min(radius, 96)
        small = pygame.Surface((2 * detail, 2 * detail))
        for r in range(detail, 0, -1):
            share = strength * (1 - r / detail) ** 2.2
            pygame.draw.circle(small, [int(c * share) for c in color], (detail, detail), r)
        _glows[key] = pygame.transform.smoothscale(small, (2 * radius, 2 * radius))
    return _glows[key]


_dimmed: dict[tuple[int, int], pygame.Surface] = {}


def add_glow(
    target: pygame.Surface, glow: pygame.Surface, center: tuple[float, float], strength: float
) -> None:
    """Add a light, dimmed to `strength` (0 to 1, in sixteenths: each step is made once and kept)."""
    step = max(0, min(16, round(strength * 16)))
    if step == 0:
        return
    shown = glow
    if step < 16:
        key = (id(glow), step)
        if key not in _dimmed:
            copy = glow.copy()
            copy.fill((step * 16, step * 16, step * 16), special_flags=pygame.BLEND_RGB_MULT)
            _dimmed[key] = copy
        shown = _dimmed[key]
    place = shown.get_rect(center=(round(center[0]), round(center[1])))
    target.blit(shown, place, special_flags=pygame.BLEND_RGB_ADD)


class Type:
    """The default font, drawn large and scaled down: letters then keep their distances at small sizes."""

    def __init__(self, size: int) -> None:
        self._font = pygame.font.Font(None, 3 * size)

    def width(self, text: str) -> int:
        """How wide `text` will be, in pixels."""
        return self._font.size(text)[0] // 3

    def render(self, text: str, color: Color) -> pygame.Surface:
        """A picture of one line."""
        large = self._font.render(text or " ", True, color)
        size = (max(1, large.get_width() // 3), max(1, large.get_height() // 3))
        return pygame.transform.smoothscale(large.convert_alpha(), size)


def supersampled(
    size: tuple[int, int], paint: Callable[[pygame.Surface, int], None], k: int = 2, *, alpha: bool = False
) -> pygame.Surface:
    """Paint at `k` times the size and scale down: smooth edges for shapes that are painted once."""
    large = pygame.Surface((size[0] * k, size[1] * k), pygame.SRCALPHA if alpha else 0)
    paint(large, k)
    return pygame.transform.smoothscale(large, size)
