"""Sable's face in a frame, one picture for each mood; and the small note of what she did."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pygame
from paint import Color, Type, supersampled

MOODS = ("calm", "warm", "sad", "stern", "wary", "amused")
SIZE = (108, 128)
PLACE = (16, 142)
_FADE = 0.35  # seconds from one face to the next
_NOTE_SECONDS = 25.0
_NOTES = 3
_PAPER: Color = (242, 235, 220)


@dataclass(frozen=True)
class Face:
    """`brow`: how far the inner ends are up (+) or down (-). `lid`: how open the eyes are. `mouth`: up (+) or down."""

    brow: float = 0.0
    lift: float = 0.0
    lid: float = 1.0
    mouth: float = 0.0
    aside: float = 0.0
    lopsided: float = 0.0


FACES = {
    "calm": Face(),
    "warm": Face(brow=0.8, lift=0.8, lid=0.8, mouth=3.2),
    "sad": Face(brow=3.0, lift=-0.3, lid=0.62, mouth=-2.4, aside=-1.2),
    "stern": Face(brow=-3.4, lift=-1.6, lid=0.78, mouth=-1.6),
    "wary": Face(brow=-1.2, lift=0.4, lid=0.56, mouth=-0.6, aside=2.6),
    "amused": Face(brow=0.6, lift=1.8, lid=0.74, mouth=2.0, lopsided=2.6),
}


class Portrait:
    """`mood` may be set at any time; what is not a mood of hers is calm. `note()` shows what she did."""

    def __init__(self) -> None:
        self._faces = {mood: _picture(FACES[mood]) for mood in MOODS}
        self._labels = {mood: Type(13).render(mood, (214, 196, 160)) for mood in MOODS}
        self._notes: list[tuple[pygame.Surface, float]] = []
        self._mood = self._before = "calm"
        self._share = 1.0

    @property
    def mood(self) -> str:
        """The mood that is shown."""
        return self._mood

    @mood.setter
    def mood(self, mood: str) -> None:
        mood = mood if mood in self._faces else "calm"
        if mood != self._mood:
            self._before, self._mood, self._share = self._mood, mood, 0.0

    def note(self, words: str, taken: bool) -> None:
        """Show what she did (`taken`) or would not do, for some seconds; the last few stand below each other."""
        self._notes = [*self._notes, (_note(words, taken), _NOTE_SECONDS)][-_NOTES:]

    def draw(self, target: pygame.Surface, dt: float) -> None:
        """Draw the frame, the face and the notes."""
        self._share = min(1.0, self._share + dt / _FADE)
        if self._share < 1.0:
            target.blit(self._faces[self._before], PLACE)
            face = self._faces[self._mood]
            face.set_alpha(int(255 * self._share))
            target.blit(face, PLACE)
            face.set_alpha(255)
        else:
            target.blit(self._faces[self._mood], PLACE)
        label = self._labels[self._mood]
        target.blit(label, label.get_rect(midtop=(PLACE[0] + SIZE[0] // 2, PLACE[1] + SIZE[1] - 17)))
        self._notes = [(note, left - dt) for note, left in self._notes if left > dt]
        for row, (note, left) in enumerate(self._notes):
            note.set_alpha(int(255 * min(1.0, left)))
            target.blit(note, (PLACE[0] + SIZE[0] + 10, PLACE[1] + 4 + 34 * row))


def _note(words: str, taken: bool) -> pygame.Surface:
    text = Type(15).render(words, _PAPER)
    surface = pygame.Surface((text.get_width() + 34, 28), pygame.SRCALPHA)
    pygame.draw.rect(surface, (12, 16, 30, 220), surface.get_rect(), border_radius=9)
    color = (120, 200, 140) if taken else (214, 110, 84)
    pygame.draw.rect(surface, (*color, 255), surface.get_rect(), 1, border_radius=9)
    if taken:
        pygame.draw.lines(surface, color, False, [(10, 14), (14, 19), (21, 9)], 3)
    else:
        pygame.draw.line(surface, color, (11, 9), (20, 19), 3)
        pygame.draw.line(surface, color, (20, 9), (11, 19), 3)
    surface.blit(text, (28, 7))
    return surface


def _picture(face: Face) -> pygame.Surface:
    return supersampled(SIZE, lambda s, k: _paint(s, k, face), 4, alpha=True).convert_alpha()


def _paint(s: pygame.Surface, k: int, face: Face) -> None:
    def poly(color: Color, *points: tuple[float, float]) -> None:
        pygame.draw.polygon(s, color, [(x * k, y * k) for x, y in points])

    def oval(color: Color, x: float, y: float, w: float, h: float) -> None:
        pygame.draw.ellipse(s, color, (x * k, y * k, w * k, h * k))

    width, height = SIZE
    pygame.draw.rect(s, (12, 16, 30, 235), (0, 0, width * k, height * k), border_radius=12 * k)
    pygame.draw.rect(s, (30, 38, 62), (5 * k, 5 * k, (width - 10) * k, (height - 26) * k), border_radius=9 * k)
    skin, lit, shade, hair = (206, 160, 134), (238, 194, 158), (168, 120, 100), (22, 20, 27)
    poly((72, 76, 90), (14, 107), (20, 92), (42, 86), (66, 86), (88, 92), (94, 107))  # the coat
    poly((52, 55, 68), (66, 86), (88, 92), (94, 107), (62, 107))
    poly(skin, (45, 72), (63, 72), (64, 90), (44, 90))
    poly((118, 48, 46), (38, 84), (70, 84), (74, 98), (54, 102), (34, 98))  # the scarf
    poly((140, 62, 54), (38, 84), (50, 84), (48, 99), (34, 98))
    oval(hair, 27, 12, 54, 62)
    oval(skin, 32, 22, 44, 58)
    oval(lit, 32, 25, 26, 50)
    fringe = ((74, 50), (72, 34), (60, 26), (44, 31), (34, 36))
    poly(hair, (30, 44), (32, 22), (46, 12), (64, 13), (77, 24), (79, 48), *fringe)
    for side, x in ((-1, 43.0), (1, 65.0)):
        _paint_eye(s, k, x, 49.0, side, face)
    poly(shade, (54, 50), (51.5, 61), (57, 61.5))
    poly(lit, (53.4, 50), (51.5, 60.2), (53.8, 60.4))
    _paint_mouth(s, k, face)
    pygame.draw.rect(s, (176, 146, 96), (0, 0, width * k, height * k), k, border_radius=12 * k)


def _paint_eye(s: pygame.Surface, k: int, x: float, y: float, side: int, face: Face) -> None:
    tall = 7.2 * face.lid
    pygame.draw.ellipse(s, (240, 234, 222), ((x - 5) * k, (y - tall / 2) * k, 10 * k, tall * k))
    center = ((x + face.aside) * k, (y + 0.4) * k)
    pygame.draw.circle(s, (58, 66, 74), center, min(3.0, tall / 2) * k)
    pygame.draw.circle(s, (18, 18, 22), center, min(1.6, tall / 3) * k)
    pygame.draw.circle(s, (250, 240, 214), ((x + face.aside - 1) * k, (y - 0.8) * k), 0.7 * k)
    lid = [((x - 5.4) * k, (y - 0.2) * k), (x * k, (y - tall / 2 - 0.7) * k), ((x + 5.4) * k, (y - 0.2) * k)]
    pygame.draw.lines(s, (60, 40, 38), False, lid, int(1.3 * k))
    top = y - 9.5 - face.lift - (face.lopsided if side > 0 else 0.0)
    inner, outer = (x - side * 6, top - face.brow), (x + side * 7, top + 0.8 + 0.35 * face.brow)
    brow = [(inner[0] * k, inner[1] * k), (x * k, (top - 1.2) * k), (outer[0] * k, outer[1] * k)]
    pygame.draw.lines(s, (26, 22, 28), False, brow, int(2.2 * k))


def _paint_mouth(s: pygame.Surface, k: int, face: Face) -> None:
    points = []
    for step in range(17):
        part = step / 8 - 1  # -1 on the left to 1 on the right
        x = 54 + 8.5 * part
        bend = face.mouth * (part * part - 0.5) + face.lopsided * 0.5 * max(0.0, part)
        points.append((x * k, (70 - bend) * k))
    pygame.draw.lines(s, (134, 70, 66), False, points, int(1.9 * k))
    shadow = [(x, y + 3.4 * k + 0.6 * k * math.sin(i / 5)) for i, (x, y) in enumerate(points[4:13])]
    pygame.draw.lines(s, (188, 140, 118), False, shadow, k)
