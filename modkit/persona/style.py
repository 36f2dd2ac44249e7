"""A small stylometric classifier: is this her, or does it sound like somebody else in her dump?

Naive Bayes over three-letter pieces and small words, her own lines against what others said to her. It knows
manner, not truth, and a few hundred lines of each side are enough to be right more often than not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from modkit.persona.persona import Persona

__all__ = ["Style"]

MIN_LINES = 30  # of each side, below which nothing is said
_MAX_LINES = 20_000
_SMOOTH = 0.5
_LEAST_PIECES = 12  # of a text that can be told at all
_SPACES = re.compile(r"\s+")


class Style:
    """Made of two sides' lines. Immutable."""

    def __init__(self, hers: Iterable[str], others: Iterable[str]) -> None:
        mine, theirs = Counter[str](), Counter[str]()
        for text in hers:
            mine.update(_pieces(text))
        for text in others:
            theirs.update(_pieces(text))
        all_pieces = mine.keys() | theirs.keys()
        n_mine = sum(mine.values()) + _SMOOTH * len(all_pieces)
        n_theirs = sum(theirs.values()) + _SMOOTH * len(all_pieces)
        self._weight = {
            piece: math.log((mine[piece] + _SMOOTH) / n_mine) - math.log((theirs[piece] + _SMOOTH) / n_theirs)
            for piece in all_pieces
        }

    @classmethod
    def of(cls, persona: Persona) -> Style | None:
        """From a persona's own lines and those she heard; None when there are too few of either."""
        hers: list[str] = []
        others: list[str] = []
        for number, line in enumerate(persona.lines(heard=True)):
            if number >= _MAX_LINES:
                break
            (hers if line.speaker == persona.name else others).append(line.text)
        return cls(hers, others) if min(len(hers), len(others)) >= MIN_LINES else None

    def score(self, text: str) -> float:
        """Above 0 it is more like her, below more like the others; about -1 to 1."""
        pieces = _pieces(text)
        known = [self._weight[piece] for piece in pieces if piece in self._weight]
        return math.fsum(known) / len(known) if known else 0.0

    def other(self, text: str) -> bool | None:
        """Whether it sounds like somebody else; None when the text is too short to tell."""
        return self.score(text) < 0.0 if len(_pieces(text)) >= _LEAST_PIECES else None


def _pieces(text: str) -> list[str]:
    plain = f" {_SPACES.sub(' ', text.casefold()).strip()} "
    return [plain[at : at + 3] for at in range(len(plain) - 2)]
