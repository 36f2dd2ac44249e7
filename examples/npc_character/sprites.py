"""What moves in the harbour, and the tower: each painted once, at several times its size."""

from __future__ import annotations

import math
import random
from functools import partial

import pygame
from paint import Color, gradient, soft_glow, supersampled

Boat = tuple[list[pygame.Surface], pygame.Surface, int, int, float]


def sable_sprite() -> pygame.Surface:
    """Sable in her father's grey coat, 88 x 140, feet at the bottom middle; her left hand holds a lantern out."""

    def paint(s: pygame.Surface, k: int) -> None:
        def poly(color: tuple[int, int, int], *points: tuple[float, float]) -> None:
            pygame.draw.polygon(s, color, [(x * k, y * k) for x, y in points])

        coat, shade, lit = (82, 86, 100), (56, 59, 74), (140, 118, 98)
        boot, hair, skin, lit_skin = (22, 21, 28), (20, 18, 24), (196, 152, 128), (238, 190, 150)
        poly(boot, (34, 126), (43, 126), (43, 138), (29, 138), (29, 134))
        poly(boot, (47, 126), (56, 126), (57, 138), (43, 138), (44, 133))
        poly(coat, (34, 38), (54, 38), (60, 60), (66, 128), (26, 128), (31, 60))
        poly(shade, (48, 40), (55, 40), (60, 60), (66, 128), (50, 128), (49, 80))
        poly(lit, (34, 40), (37, 39), (35, 64), (31, 128), (26, 128), (31, 60))
        poly((44, 46, 58), (44, 44), (46, 44), (47, 128), (44, 128))
        for y in (56, 70, 84):
            pygame.draw.circle(s, (150, 130, 96), (42 * k, y * k), 1.6 * k)
        poly(shade, (53, 42), (60, 46), (66, 76), (63, 92), (56, 91), (56, 76))  # right arm, at her side
        pygame.draw.circle(s, skin, (60 * k, 93 * k), 4 * k)
        poly(
            coat, (33, 41), (40, 44), (33, 62), (16, 72), (11, 67), (26, 57)
        )  # left arm, holding the lantern
        poly(lit, (26, 57), (28, 58), (16, 71), (11, 67))
        pygame.draw.circle(s, lit_skin, (11 * k, 70 * k), 4 * k)
        poly((104, 42, 42), (35, 34), (53, 34), (55, 42), (44, 46), (33, 42))  # a dark red scarf
        poly((130, 56, 50), (35, 34), (40, 34), (38, 43), (33, 42))
        poly((88, 34, 36), (49, 42), (54, 41), (58, 62), (52, 63))
        poly(skin, (40, 28), (49, 28), (49, 36), (40, 36))
        pygame.draw.ellipse(s, skin, (35 * k, 11 * k, 19 * k, 24 * k))
        pygame.draw.ellipse(s, lit_skin, (35 * k, 13 * k, 10 * k, 20 * k))
        poly(
            hair,
            (36, 19),
            (39, 12),
            (45, 8),
            (52, 10),
            (56, 17),
            (56, 29),
            (52, 31),
            (52, 21),
            (46, 17),
            (40, 18),
        )
        poly(hair, (36, 19), (41, 9), (47, 7), (50, 14), (40, 20))
        pygame.draw.circle(s, (30, 26, 30), (40 * k, 23 * k), 1.3 * k)
        pygame.draw.circle(s, (30, 26, 30), (47 * k, 23 * k), 1.3 * k)
        pygame.draw.line(s, (150, 104, 88), (40 * k, 30 * k), (45 * k, 30 * k), k)
        poly((222, 170, 136), (42, 23), (40.5, 27), (43.5, 27))

    return supersampled((88, 140), paint, 6, alpha=True).convert_alpha()


def lantern_sprite() -> pygame.Surface:
    """A hand lantern, 16 x 24, the ring at the top."""

    def paint(s: pygame.Surface, k: int) -> None:
        pygame.draw.circle(s, (40, 36, 34), (8 * k, 4 * k), 4 * k, k)
        pygame.draw.rect(s, (48, 42, 38), (3 * k, 7 * k, 10 * k, 3 * k), border_radius=k)
        pygame.draw.rect(s, (255, 226, 150), (4 * k, 10 * k, 8 * k, 10 * k))
        pygame.draw.ellipse(s, (255, 250, 224), (6 * k, 12 * k, 4 * k, 7 * k))
        for x in (3, 12):
            pygame.draw.rect(s, (48, 42, 38), (x * k, 9 * k, k, 12 * k))
        pygame.draw.rect(s, (48, 42, 38), (3 * k, 20 * k, 10 * k, 3 * k), border_radius=k)

    return supersampled((16, 24), paint, 6, alpha=True).convert_alpha()


def cat_sprite() -> pygame.Surface:
    """Soot, who came off a coal boat with one eye, 34 x 34, sitting."""

    def paint(s: pygame.Surface, k: int) -> None:
        black, rim = (15, 14, 20), (58, 50, 50)
        pygame.draw.arc(s, black, (16 * k, 14 * k, 16 * k, 18 * k), 4.4, 6.9, 3 * k)
        pygame.draw.ellipse(s, rim, (5 * k, 13 * k, 16 * k, 20 * k))
        pygame.draw.ellipse(s, black, (6 * k, 13 * k, 16 * k, 20 * k))
        pygame.draw.circle(s, rim, (10.4 * k, 10 * k), 6 * k)
        pygame.draw.circle(s, black, (11 * k, 10 * k), 6 * k)
        for points in (((6, 8), (6, 1), (11, 5)), ((11, 5), (16, 1), (16.5, 8))):
            pygame.draw.polygon(s, black, [(x * k, y * k) for x, y in points])
        pygame.draw.ellipse(s, (236, 206, 92), (7.4 * k, 8.4 * k, 3.2 * k, 2.6 * k))
        pygame.draw.line(s, (40, 36, 42), (12.5 * k, 9.6 * k), (15 * k, 9.6 * k), k)

    return supersampled((34, 34), paint, 6, alpha=True).convert_alpha()


def cloud_sprites(rng: random.Random) -> list[tuple[pygame.Surface, float, float, float]]:
    """Soft long clouds: (picture, x, y, speed in pixels a second)."""
    found: list[tuple[pygame.Surface, float, float, float]] = []
    for x, y, wide, strength in (
        (60, 58, 400, 74),
        (640, 34, 440, 56),
        (1010, 128, 360, 54),
        (420, 150, 320, 44),
    ):
        columns, rows = wide // 8, 14
        puffs = [(rng.gauss(0.5, 0.13), rng.uniform(0.4, 0.62), rng.uniform(0.05, 0.16)) for _ in range(9)]
        small = pygame.Surface((columns, rows), pygame.SRCALPHA)
        for i in range(columns):
            for j in range(rows):
                u, v = (i + 0.5) / columns, (j + 0.5) / rows
                thick = sum(
                    math.exp(-(((u - pu) / pr) ** 2) - ((v - pv) / 0.13) ** 2) for pu, pv, pr in puffs
                )
                edge = min(1.0, 6 * u, 6 * (1 - u), 4 * v, 4 * (1 - v))
                small.set_at((i, j), (104, 116, 146, int(strength * edge * (1 - math.exp(-thick)))))
        found.append(
            (pygame.transform.smoothscale(small, (wide, 64)).convert_alpha(), x, y, rng.uniform(3, 7))
        )
    return found


def ray_picture(size: tuple[int, int], tint: Color) -> pygame.Surface:
    """A beam that leaves its lamp at the left edge: it widens, and fades with the way and to its sides."""
    picture = pygame.Surface(size)
    for i in range(size[0]):
        u = i / size[0]
        half = 0.035 + 0.4 * u
        fade = 0.66 * (1 - u) ** 1.25 * (0.55 + 0.45 * (1 - u) ** 3)
        for j in range(size[1]):
            v = abs(2 * (j + 0.5) / size[1] - 1) / half
            if v < 2.4:
                share = fade * (0.72 * math.exp(-v * v * 1.7) + 0.28 * math.exp(-v * v * 14))
                picture.set_at((i, j), (int(tint[0] * share), int(tint[1] * share), int(tint[2] * share)))
    return picture


_BOATS = ((1.0, 214, 404, 0.0, True), (0.72, 446, 366, 2.2, False), (0.5, 668, 338, 4.0, True))


def boat_sprites() -> list[Boat]:
    """Moored boats: tilted pictures, a reflection, x, the waterline's y, and a phase."""
    found = []
    for size, x, y, phase, lamp in _BOATS:
        width, height = int(130 * size), int(112 * size)
        still = supersampled((width, height), partial(_paint_boat, size, lamp), 4, alpha=True)
        frames = []
        for step in range(25):
            angle = (step / 24 - 0.5) * 4.4
            turned = pygame.transform.rotozoom(still, angle, 1.0)
            frames.append(turned.convert_alpha())
        mirror = pygame.transform.flip(still, False, True)
        mirror = pygame.transform.smoothscale(mirror, (width, int(height * 0.55)))
        mirror.fill((50, 60, 84, 92), special_flags=pygame.BLEND_RGBA_MULT)
        found.append((frames, mirror.convert_alpha(), x, y, phase))
    return found


def _paint_boat(size: float, lit: bool, s: pygame.Surface, scale: int) -> None:
    k = size * scale

    def poly(color: tuple[int, int, int], *points: tuple[float, float]) -> None:
        pygame.draw.polygon(s, color, [(x * k, y * k) for x, y in points])

    hull, rim, mast = (26, 26, 36), (96, 84, 74), (34, 32, 40)
    pygame.draw.line(s, mast, (58 * k, 92 * k), (58 * k, 8 * k), round(2.6 * k))
    for end in ((8, 88), (122, 86)):
        pygame.draw.line(s, (44, 44, 54), (58 * k, 10 * k), (end[0] * k, end[1] * k), max(1, round(0.8 * k)))
    poly((66, 62, 68), (61, 26), (64, 24), (70, 78), (61, 80))  # the furled sail
    poly((88, 82, 84), (61, 26), (63, 25), (66, 79), (61, 80))
    poly(hull, (4, 86), (126, 82), (114, 106), (100, 111), (26, 111), (14, 104))
    poly(rim, (3, 84), (127, 80), (126, 84), (4, 88))
    poly((124, 58, 48), (11, 98), (118, 95), (116, 100), (13, 102))
    poly((40, 40, 52), (80, 66), (104, 66), (108, 84), (78, 85))  # the cabin
    poly((24, 24, 34), (77, 63), (108, 63), (108, 67), (77, 67))
    window = (255, 204, 122) if lit else (20, 22, 32)
    pygame.draw.rect(s, window, (85 * k, 71 * k, 6 * k, 6 * k))
    pygame.draw.rect(s, window, (96 * k, 71 * k, 6 * k, 6 * k))


def paint_tower(surface: pygame.Surface, k: int, lamp: tuple[int, int], foot: int) -> None:
    """The Lamp: a round stone tower with its lamp room at `lamp` and its foot at y `foot`."""
    x, y = lamp
    top, low = y + 24, foot
    half_top, half_low = 25, 39
    height = low - top
    shades = gradient((1, 64), ((0.0, (104, 106, 118)), (0.28, (84, 87, 101)), (1.0, (32, 35, 50))))
    for row in range(height * k):
        half = half_top + (half_low - half_top) * (row / (height * k)) ** 1.25
        for step in range(-32, 32):
            left, wide = (x + half * step / 32) * k, half * k / 32 + 1
            shade = shades.get_at((0, step + 32))
            pygame.draw.line(surface, shade, (left, top * k + row), (left + wide, top * k + row))
    _paint_courses(surface, k, x, top, height, half_top, half_low)
    for share, side in ((0.24, -0.2), (0.5, 0.15), (0.74, -0.1)):  # windows of the stair, one of them lit
        wx, wy = x + side * 40, top + height * share
        pygame.draw.rect(
            surface, (28, 30, 42), ((wx - 5) * k, (wy - 9) * k, 10 * k, 18 * k), border_radius=5 * k
        )
        glow = (255, 198, 116) if share == 0.5 else (20, 22, 34)
        pygame.draw.rect(surface, glow, ((wx - 3) * k, (wy - 7) * k, 6 * k, 14 * k), border_radius=3 * k)
    door = pygame.Rect((x - 11) * k, (low - 36) * k, 22 * k, 36 * k)
    for box, color, bow in ((door.inflate(6 * k, 3 * k), (24, 25, 36), 13 * k), (door, (64, 48, 42), 11 * k)):
        pygame.draw.rect(surface, color, box, border_top_left_radius=bow, border_top_right_radius=bow)
    pygame.draw.circle(surface, (150, 130, 96), ((x + 6) * k, (low - 17) * k), 1.6 * k)
    _paint_lamp_room(surface, k, x, y)


def _paint_courses(
    surface: pygame.Surface, k: int, x: int, top: int, height: int, half_top: int, half_low: int
) -> None:
    rng = random.Random(3)
    for row in range(0, height, 11):
        half = half_top + (half_low - half_top) * (row / height) ** 1.25
        y = (top + row) * k
        curve = [
            ((x + half * a / 10) * k, y + 3 * k * math.sqrt(max(0.0, 1 - (a / 10) ** 2)))
            for a in range(-10, 11)
        ]
        pygame.draw.lines(surface, (54, 57, 71), False, curve, k)
        for _ in range(4):
            a = rng.uniform(-0.95, 0.95)
            px, drop = (x + half * a) * k, 3 * k * math.sqrt(1 - a * a)
            pygame.draw.line(surface, (54, 57, 71), (px, y + drop), (px, y + drop + 11 * k), k)


def _paint_lamp_room(surface: pygame.Surface, k: int, x: int, y: int) -> None:
    iron, edge = (24, 25, 35), (92, 94, 108)
    pygame.draw.rect(surface, iron, ((x - 34) * k, (y + 18) * k, 68 * k, 8 * k), border_radius=2 * k)
    pygame.draw.rect(surface, edge, ((x - 34) * k, (y + 18) * k, 68 * k, 2 * k))
    for step in range(-32, 33, 8):
        pygame.draw.line(surface, iron, ((x + step) * k, (y + 4) * k), ((x + step) * k, (y + 18) * k), k)
    pygame.draw.line(surface, iron, ((x - 33) * k, (y + 5) * k), ((x + 33) * k, (y + 5) * k), 2 * k)
    glass = gradient((36 * k, 34 * k), ((0.0, (92, 96, 104)), (0.5, (150, 142, 120)), (1.0, (84, 84, 92))))
    surface.blit(glass, ((x - 18) * k, (y - 16) * k))
    pygame.draw.rect(surface, (70, 150, 112), ((x + 9) * k, (y - 16) * k, 9 * k, 34 * k))  # the green pane
    for step in (-18, -9, 0, 9, 18):
        pygame.draw.line(surface, iron, ((x + step) * k, (y - 16) * k), ((x + step) * k, (y + 18) * k), 2 * k)
    roof = [((x - 25) * k, (y - 15) * k), ((x - 12) * k, (y - 33) * k), (x * k, (y - 39) * k)]
    roof += [((x + 12) * k, (y - 33) * k), ((x + 25) * k, (y - 15) * k)]
    pygame.draw.polygon(surface, (30, 30, 42), roof)
    pygame.draw.polygon(surface, (48, 48, 62), [roof[0], roof[1], roof[2], ((x - 6) * k, (y - 15) * k)])
    pygame.draw.line(surface, iron, (x * k, (y - 38) * k), (x * k, (y - 54) * k), 2 * k)
    pygame.draw.circle(surface, iron, (x * k, (y - 41) * k), 3.4 * k)
    pygame.draw.polygon(
        surface, iron, [(x * k, (y - 54) * k), ((x + 11) * k, (y - 51) * k), (x * k, (y - 48) * k)]
    )
    surface.blit(
        soft_glow(8 * k, (60, 60, 40), 0.4), ((x - 8) * k, (y - 8) * k), special_flags=pygame.BLEND_RGB_ADD
    )
