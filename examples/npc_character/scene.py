"""The harbour of Corrow at night, drawn by code: what never moves is painted once, what moves is cheap.

Everything still (sky, hill, town, quay, tower) is painted at twice the size and scaled down, which is where its
smooth edges come from. A frame is then one blit of that picture and a few dozen small things on top.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pygame
from backdrop import HORIZON, LAMP, MOON, QUAY, WARM, WATER, paint_harbour
from paint import Color, add_glow, lerp_color, soft_glow
from sprites import (
    boat_sprites,
    cat_sprite,
    cloud_sprites,
    lantern_sprite,
    ray_picture,
    sable_sprite,
)

SABLE_FEET = (604, 484)
MOUTH = (598, 366)  # where a speech bubble points to
_TURNING = 0.55  # of the lamp, in radians a second
REACH = 820  # of the lamp's beams, in pixels

_GREEN: Color = (96, 255, 176)
_WHITE: Color = (255, 240, 200)


class Scene:
    """Draws itself onto a 960 x 540 surface. `seed` fixes where the stars and the glitter lie."""

    def __init__(self, seed: int = 11) -> None:
        rng = random.Random(seed)
        still, lit = paint_harbour(rng)
        self._back = still.convert()
        self._clouds = cloud_sprites(rng)
        self._boats = boat_sprites()
        self._sable = sable_sprite()
        self._cat = cat_sprite()
        self._lantern = lantern_sprite()
        self._lantern_glow = soft_glow(150, WARM, 0.62)
        self._ground_glow = pygame.transform.smoothscale(soft_glow(120, WARM, 0.42), (300, 62))
        self._lamp_glow = soft_glow(74, (255, 226, 168), 0.9)
        self._flare = soft_glow(190, (255, 232, 180), 0.55)
        self._sea_glow = {tint: _sea_glow(tint) for tint in (_WHITE, _GREEN)}
        self._rays = {
            (tint, left): pygame.transform.flip(ray, left, False)
            for tint in (_WHITE, _GREEN)
            for ray in (ray_picture((REACH // 2, 98), tint),)
            for left in (False, True)
        }
        self._twinkle = [(rng.randrange(960), rng.randrange(150), rng.random() * 6.28) for _ in range(26)]
        self._glitter = _glitter(rng)
        self._reflections = _reflections(rng, lit)
        self._gull = -1.0
        self.lamp = 0.0
        """How bright the lamp burns, 0 (out) to 1."""

    def send_gull(self) -> None:
        """Let a gull cross the sky, unless one is under way."""
        if self._gull < 0:
            self._gull = 0.0

    @staticmethod
    def beam_at(time: float) -> float:
        """How much of the beam is seen from the side at `time`: 1 all of it, 0 when it points at us or away."""
        return abs(math.cos(time * _TURNING))

    def draw(self, target: pygame.Surface, time: float, dt: float, *, speaking: bool) -> None:
        """Draw the frame at `time` seconds."""
        target.blit(self._back, (0, 0))
        for x, y, phase in self._twinkle:
            shade = int(160 + 80 * math.sin(time * 1.7 + phase))
            target.set_at((x, y), (shade, shade, min(255, shade + 20)))
        for cloud, left, top, speed in self._clouds:
            target.blit(cloud, ((left + time * speed) % 1360 - 400, top))
        self._draw_gull(target, time, dt)
        self._draw_water(target, time)
        self._draw_lamp(target, time)
        self._draw_boats(target, time)
        self._draw_sable(target, time, speaking)

    def _draw_water(self, target: pygame.Surface, time: float) -> None:
        line = pygame.draw.line
        for x, y, half, phase, speed, shades in self._glitter:
            wave = math.sin(time * speed + phase)
            if wave > -0.25:
                reach = half * (0.35 + 0.65 * wave)
                drift = 3 * math.sin(time * 0.6 + phase * 3)
                shade = shades[int((wave + 0.25) * 5.5)]
                line(target, shade, (x + drift - reach, y), (x + drift + reach, y))
        for x, y, width, phase, shade in self._reflections:
            shift = math.sin(time * 1.9 + phase + y * 0.13) * (1 + (y - HORIZON) * 0.035)
            if math.sin(time * 1.3 + phase * 2.1 + y) > -0.55:
                line(target, shade, (x + shift - width, y), (x + shift + width, y))

    def _draw_lamp(self, target: pygame.Surface, time: float) -> None:
        if self.lamp <= 0.01:
            return
        angle = time * _TURNING
        for turn in (0.0, math.pi):
            self._draw_ray(target, (angle + turn) % (2 * math.pi))
        facing = abs(math.sin(angle)) ** 6
        add_glow(target, self._flare, LAMP, self.lamp * (0.35 + 0.65 * facing))
        add_glow(target, self._lamp_glow, LAMP, self.lamp * (0.8 + 0.06 * math.sin(time * 9)))

    def _draw_ray(self, target: pygame.Surface, angle: float) -> None:
        """One of the two beams. Seen from the side it shortens as it turns towards us or away."""
        across, away = math.cos(angle), math.sin(angle)
        if abs(across) < 0.06:
            return
        tint = _GREEN if 1.75 < angle < 2.55 else _WHITE
        picture = self._rays[tint, across < 0]
        size = (int(REACH * abs(across)), int(196 - 40 * abs(across)))
        ray = pygame.transform.smoothscale(picture, size)
        shade = int(255 * self.lamp * (0.5 + 0.34 * abs(across)) * (0.7 if away < 0 else 1.0))
        ray.fill((shade, shade, shade), special_flags=pygame.BLEND_RGB_MULT)
        left = LAMP[0] - size[0] if across < 0 else LAMP[0]
        target.blit(ray, (left, LAMP[1] - size[1] // 2 + 2), special_flags=pygame.BLEND_RGB_ADD)
        spot = (LAMP[0] + 540 * across, HORIZON + 14 + 8 * away)
        add_glow(target, self._sea_glow[tint], spot, self.lamp * 0.8 * abs(across))

    def _draw_boats(self, target: pygame.Surface, time: float) -> None:
        for frames, mirror, x, y, phase in self._boats:
            tilt = math.sin(time * 0.9 + phase)
            frame = frames[round((tilt + 1) / 2 * (len(frames) - 1))]
            rise = 2.2 * math.sin(time * 1.2 + phase)
            place = frame.get_rect(midbottom=(x, y + rise))
            target.blit(mirror, mirror.get_rect(midtop=(x, y - 4 - rise * 0.5)))
            target.blit(frame, place)

    def _draw_sable(self, target: pygame.Surface, time: float, speaking: bool) -> None:
        x, y = SABLE_FEET
        flicker = 0.86 + 0.07 * math.sin(time * 7.3) + 0.05 * math.sin(time * 12.1)
        glow = flicker * (1.0 if speaking else 0.88)
        breath = 0.8 * math.sin(time * 1.5)
        add_glow(target, self._ground_glow, (x - 20, y - 2), glow)
        target.blit(self._cat, (x + 46, y - 33))
        target.blit(self._sable, (x - 44, round(y - 138 + breath)))
        swing = 2.0 * math.sin(time * 1.3)
        lantern = (x - 38 + swing, y - 62 + breath)
        target.blit(self._lantern, (round(lantern[0] - 8), round(lantern[1] - 7)))
        add_glow(target, self._lantern_glow, (lantern[0], lantern[1] + 7), glow)

    def _draw_gull(self, target: pygame.Surface, time: float, dt: float) -> None:
        if self._gull < 0:
            return
        self._gull += dt
        x = 990 - self._gull * 105
        y = 205 - 26 * math.sin(self._gull * 0.5) + 4 * math.sin(self._gull * 2.2)
        flap = 7 * math.sin(self._gull * 9)
        wings = [(x - 13, y - flap), (x - 5, y - 2), (x, y), (x + 5, y - 2), (x + 13, y - flap)]
        pygame.draw.aalines(target, (196, 202, 214), False, wings)
        pygame.draw.aalines(target, (150, 158, 176), False, [(px, py + 1) for px, py in wings])
        if x < -30:
            self._gull = -1.0


def _sea_glow(tint: Color) -> pygame.Surface:
    return pygame.transform.smoothscale(soft_glow(100, tint, 0.3), (240, 30))


def _glitter(rng: random.Random) -> list[tuple[float, int, float, float, float, list[Color]]]:
    """The moon's path on the water, and a few stray glints elsewhere; wider and longer towards us."""
    found = []
    for y in range(HORIZON + 3, QUAY - 1, 2):
        near = (y - HORIZON) / (QUAY - HORIZON)
        base = _water_at(near)
        for _ in range(3):
            x = MOON[0] + rng.gauss(0, 12 + 34 * near)
            bright = rng.uniform(0.35, 1.0)
            shades = [lerp_color(base, (222, 220, 206), bright * (0.12 + 0.12 * step)) for step in range(8)]
            found.append(
                (x, y, 3 + 13 * near * rng.random(), rng.random() * 6.28, rng.uniform(1.1, 2.4), shades)
            )
        for _ in range(2):
            shades = [lerp_color(base, (130, 146, 172), 0.07 * step) for step in range(8)]
            spot = rng.randrange(960)
            found.append(
                (spot, y, 4 + 16 * near * rng.random(), rng.random() * 6.28, rng.uniform(0.7, 1.5), shades)
            )
    return found


def _water_at(near: float) -> Color:
    for (p0, c0), (p1, c1) in pairwise(WATER):
        if p0 <= near * 0.6 <= p1:
            return lerp_color(c0, c1, (near * 0.6 - p0) / (p1 - p0))
    return WATER[-1][1]


def _reflections(
    rng: random.Random, lit: list[tuple[int, int]]
) -> list[tuple[float, int, float, float, Color]]:
    """Broken streaks of warm light below the town's windows and the lamp."""
    found = []
    for x, y0 in lit:
        for step in range(9):
            y = max(y0, HORIZON + 7) + step * 3
            if y > HORIZON + 7 and (x > 330 or step < 5):
                shade = lerp_color(_water_at((y - HORIZON) / 140), (255, 186, 104), 0.42 * (1 - step / 9))
                found.append((float(x), y, 1.6, rng.random() * 6.28, shade))
    for step in range(42):
        y = HORIZON + 8 + step * 3
        shade = lerp_color(_water_at((y - HORIZON) / 140), (255, 220, 160), 0.34 * (1 - step / 46))
        found.append((LAMP[0] - 52.0, y, 2 + step * 0.12, rng.random() * 6.28, shade))
    return found
