"""The harbour's still picture: sky, hill, town, rocks, quay and tower, painted once when the demo starts."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pygame
from paint import Color, add_glow, gradient, lerp, lerp_color, soft_glow, supersampled
from sprites import paint_tower

SIZE = (960, 540)
HORIZON = 306
QUAY = 446
LAMP = (792, 128)
MOON = (366, 90)
WARM: Color = (255, 186, 98)

_SKY = ((0.0, (9, 12, 32)), (0.45, (20, 31, 62)), (0.8, (45, 62, 92)), (1.0, (98, 96, 108)))
WATER = ((0.0, (70, 78, 98)), (0.12, (42, 56, 82)), (0.5, (22, 33, 56)), (1.0, (10, 16, 32)))


def paint_harbour(rng: random.Random) -> tuple[pygame.Surface, list[tuple[int, int]]]:
    """The picture, and where the town's lit windows stand at the water, for their reflections."""
    lit: list[tuple[int, int]] = []

    def paint(surface: pygame.Surface, k: int) -> None:
        width, height = SIZE[0] * k, SIZE[1] * k
        surface.blit(gradient((width, HORIZON * k), _SKY), (0, 0))
        surface.blit(gradient((width, height - HORIZON * k), WATER), (0, HORIZON * k))
        _paint_stars(surface, k, rng)
        _paint_moon(surface, k)
        _paint_far_land(surface, k)
        _paint_town(surface, k, rng, lit)
        _paint_rocks(surface, k)
        _paint_quay(surface, k, rng)
        paint_tower(surface, k, LAMP, QUAY + 14)
        _paint_quay_things(surface, k)

    still = supersampled(SIZE, paint)
    _grain(still, rng)
    return still, lit


def _grain(surface: pygame.Surface, rng: random.Random) -> None:
    """A faint noise, so that the long gradients show no bands."""
    for flag in (pygame.BLEND_RGB_ADD, pygame.BLEND_RGB_SUB):
        tile = pygame.Surface((160, 180))
        for x in range(160):
            for y in range(180):
                shade = rng.choice((0, 0, 1, 2, 3))
                tile.set_at((x, y), (shade, shade, shade))
        for x in range(0, SIZE[0], 160):
            for y in range(0, SIZE[1], 180):
                surface.blit(tile, (x, y), special_flags=flag)


def _paint_stars(surface: pygame.Surface, k: int, rng: random.Random) -> None:
    for _ in range(230):
        x, y = rng.randrange(960), int(rng.random() ** 1.5 * 250)
        shade = int(rng.choice((90, 120, 150, 190, 230)) * (1 - y / 330))
        radius = k * rng.choice((0.5, 0.5, 0.7, 1.0))
        pygame.draw.circle(surface, (shade, shade, min(255, shade + 12)), (x * k, y * k), max(1, radius))


def _paint_moon(surface: pygame.Surface, k: int) -> None:
    x, y = MOON
    add_glow(surface, soft_glow(250 * k, (96, 112, 140), 0.5), (x * k, y * k), 1.0)
    add_glow(surface, soft_glow(84 * k, (150, 158, 168), 0.5), (x * k, y * k), 1.0)
    pygame.draw.circle(surface, (238, 234, 214), (x * k, y * k), 30 * k)
    for dx, dy, r in ((-9, -6, 7), (7, 4, 9), (-4, 12, 5), (12, -11, 4), (-16, 7, 3)):
        pygame.draw.circle(surface, (222, 217, 198), ((x + dx) * k, (y + dy) * k), r * k)


def _ridge(k: int, points: list[tuple[float, float]], base: float) -> list[tuple[float, float]]:
    """A hill line through `points`, with cosine easing between them, closed along `base`."""
    line: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = max(2, int((x1 - x0) / 4))
        for step in range(steps):
            part = step / steps
            line.append(((x0 + (x1 - x0) * part) * k, lerp(y0, y1, (1 - math.cos(part * math.pi)) / 2) * k))
    line.append((points[-1][0] * k, points[-1][1] * k))
    return [(points[0][0] * k, base * k), *line, (points[-1][0] * k, base * k)]


_FAR = [(-10.0, 232.0), (120.0, 214.0), (250.0, 252.0), (380.0, 262.0), (520.0, 292.0), (640.0, 304.0)]
_NEAR = [(-10.0, 244.0), (70.0, 250.0), (180.0, 268.0), (300.0, 286.0), (400.0, 300.0), (450.0, 307.0)]


def _paint_far_land(surface: pygame.Surface, k: int) -> None:
    pygame.draw.polygon(surface, (40, 52, 78), _ridge(k, _FAR, HORIZON))
    pygame.draw.polygon(
        surface, (52, 62, 84), _ridge(k, [(690, 305), (800, 292), (900, 286), (970, 290)], HORIZON)
    )
    pygame.draw.polygon(surface, (20, 27, 46), _ridge(k, _NEAR, HORIZON + 6))
    shade = pygame.Surface((460 * k, 60 * k), pygame.SRCALPHA)
    for row in range(60 * k):  # the hill's reflection, fading towards us
        strength = int(150 * (1 - row / (60 * k)) ** 1.6)
        reach = (455 - row / k * 1.9) * k
        pygame.draw.line(shade, (14, 20, 36, strength), (0, row), (reach, row))
    surface.blit(shade, (0, (HORIZON + 3) * k))


def _hill_y(x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(_NEAR):
        if x0 <= x <= x1:
            return lerp(y0, y1, (1 - math.cos((x - x0) / (x1 - x0) * math.pi)) / 2)
    return HORIZON


def _paint_town(surface: pygame.Surface, k: int, rng: random.Random, lit: list[tuple[int, int]]) -> None:
    for row, (start, stop, lift) in enumerate(((4, 250, -4), (14, 330, 10), (0, 404, 22))):
        x = float(start)
        while x < stop:
            wide, high = rng.randint(15, 25), rng.randint(11, 17)
            ground = min(_hill_y(x + wide / 2) + lift, HORIZON + 3)
            if ground - high > 228:
                windows = _paint_house(surface, k, rng, (x, ground, wide, high), row)
                if row == 2:
                    lit.extend((int(window), int(ground)) for window in windows)
            x += wide + rng.randint(-2, 9)
    x, y = 352, HORIZON + 3  # the harbour office: the only red door
    wall, roof = (30, 35, 50), (13, 16, 27)
    pygame.draw.rect(surface, wall, (x * k, (y - 19) * k, 30 * k, 19 * k))
    gable = ((x - 3, y - 19), (x + 15, y - 30), (x + 33, y - 19))
    pygame.draw.polygon(surface, roof, [(px * k, py * k) for px, py in gable])
    pygame.draw.rect(surface, (168, 52, 46), ((x + 12) * k, (y - 11) * k, 6 * k, 11 * k))
    pygame.draw.rect(surface, WARM, ((x + 4) * k, (y - 14) * k, 4 * k, 4 * k))
    pygame.draw.rect(surface, WARM, ((x + 22) * k, (y - 14) * k, 4 * k, 4 * k))
    lit.extend([(x + 6, y), (x + 24, y)])
    pygame.draw.rect(surface, (15, 18, 30), (0, (HORIZON + 2) * k, 408 * k, 5 * k))  # the town's own quay


def _paint_house(
    surface: pygame.Surface, k: int, rng: random.Random, box: tuple[float, float, int, int], row: int
) -> list[float]:
    """Returns the x of its lit windows."""
    windows: list[float] = []
    x, ground, wide, high = box
    depth = row * 4
    wall = (26 + depth, 31 + depth, 47 + depth)
    roof = (11 + row * 2, 14 + row * 2, 25 + row * 2)
    top = ground - high
    pygame.draw.rect(surface, wall, (x * k, top * k, wide * k, (high + 14) * k))
    peak = rng.uniform(7, 10)
    eaves = [((x - 2) * k, top * k), ((x + wide / 2) * k, (top - peak) * k), ((x + wide + 2) * k, top * k)]
    pygame.draw.polygon(surface, roof, eaves)
    if rng.random() < 0.6:
        pygame.draw.rect(surface, roof, ((x + wide * 0.66) * k, (top - peak) * k, 3.4 * k, 7 * k))
    for place in (0.22, 0.62):
        if rng.random() < 0.5:
            shade = rng.choice(((255, 196, 112), (240, 168, 88), (255, 214, 148)))
            spot = ((x + wide * place) * k, (top + high * 0.3) * k)
            pygame.draw.rect(surface, shade, (*spot, 3 * k, 4 * k))
            add_glow(surface, soft_glow(9 * k, WARM, 0.4), (spot[0] + 1.5 * k, spot[1] + 2 * k), 1.0)
            windows.append(x + wide * place + 1)
    return windows


_GULL_ROCK = (
    *((506, 309), (513, 299), (524, 296), (533, 287), (546, 284)),
    *((557, 290), (570, 293), (580, 302), (592, 309)),
)
_TEETH = (
    *((856, 322, 15), (868, 324, 24), (880, 323, 11), (893, 326, 29)),  # x, y, height
    *((905, 324, 17), (920, 328, 21), (938, 326, 13)),
)


def _paint_rocks(surface: pygame.Surface, k: int) -> None:
    pygame.draw.polygon(surface, (24, 32, 50), [(x * k, y * k) for x, y in _GULL_ROCK])
    pygame.draw.line(surface, (24, 32, 50), (547 * k, 286 * k), (547 * k, 277 * k), 2 * k)  # the grave's post
    pygame.draw.line(surface, (24, 32, 50), (543.5 * k, 280 * k), (550.5 * k, 280 * k), 2 * k)
    for x, y, h in _TEETH:
        tooth = ((x - 8, y), (x - 2, y - h), (x + 2, y - h * 0.7), (x + 9, y))
        pygame.draw.polygon(surface, (14, 19, 33), [(px * k, py * k) for px, py in tooth])
        pygame.draw.line(surface, (112, 122, 142), ((x - 11) * k, y * k), ((x + 12) * k, y * k), k)
    pygame.draw.line(surface, (96, 106, 128), (500 * k, 309 * k), (598 * k, 309 * k), k)


def _paint_quay(surface: pygame.Surface, k: int, rng: random.Random) -> None:
    top = gradient((960 * k, 50 * k), ((0.0, (46, 50, 64)), (1.0, (33, 36, 48))))
    surface.blit(top, (0, QUAY * k))
    surface.blit(
        gradient((960 * k, 44 * k), ((0.0, (24, 26, 37)), (1.0, (13, 15, 24)))), (0, (QUAY + 50) * k)
    )
    pygame.draw.rect(surface, (74, 78, 94), (0, QUAY * k, 960 * k, 2 * k))
    pygame.draw.rect(surface, (60, 63, 78), (0, (QUAY + 48) * k, 960 * k, 3 * k))
    for row, (y, high) in enumerate(((0, 13), (13, 16), (29, 20))):
        x = -rng.randint(0, 40)
        while x < 980:
            wide = rng.randint(46, 84) + row * 10
            shift = rng.randint(-4, 5)
            base = lerp_color((46, 50, 64), (33, 36, 48), y / 50)
            shade = [max(0, min(255, c + shift)) for c in base]
            stone = ((x + 1) * k, (QUAY + y + 2) * k, (wide - 2) * k, (high - 2) * k)
            pygame.draw.rect(surface, shade, stone, border_radius=2 * k)
            x += wide
    for y in (12, 29):
        pygame.draw.line(surface, (27, 30, 41), (0, (QUAY + y + 1) * k), (960 * k, (QUAY + y + 1) * k), k)


def _paint_quay_things(surface: pygame.Surface, k: int) -> None:
    dark, wood, light = (22, 20, 26), (58, 46, 42), (82, 66, 56)
    for x, y, w, h in ((34, 486, 42, 50), (80, 490, 40, 46), (58, 444, 40, 46)):  # barrels
        body = pygame.Rect((x - w / 2) * k, (y - h) * k, w * k, h * k)
        pygame.draw.rect(surface, wood, body, border_radius=9 * k)
        pygame.draw.rect(
            surface, light, (body.x + 7 * k, body.y + 4 * k, 5 * k, body.h - 8 * k), border_radius=2 * k
        )
        for share in (0.2, 0.74):
            pygame.draw.rect(surface, dark, (body.x, body.y + body.h * share, body.w, 4 * k))
    crate = pygame.Rect(126 * k, 452 * k, 46 * k, 38 * k)
    pygame.draw.rect(surface, wood, crate)
    pygame.draw.rect(surface, light, crate, 3 * k)
    pygame.draw.line(surface, light, crate.bottomleft, crate.topright, 3 * k)
    for x in (330, 716):  # bollards with a rope
        pygame.draw.rect(surface, (20, 21, 30), ((x - 8) * k, 452 * k, 16 * k, 24 * k), border_radius=4 * k)
        pygame.draw.rect(surface, (36, 38, 50), ((x - 12) * k, 448 * k, 24 * k, 8 * k), border_radius=4 * k)
    for turn in range(4):
        box = pygame.Rect((348 - turn * 2) * k, (476 - turn * 3) * k, (38 + turn * 4 - 8) * k, 10 * k)
        pygame.draw.ellipse(surface, (116, 98, 72) if turn % 2 else (94, 80, 60), box, 3 * k)
