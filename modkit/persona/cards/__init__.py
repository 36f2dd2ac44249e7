"""Character cards and lorebooks: read, filled in, and written again with everything that was in them."""

from __future__ import annotations

from modkit.persona.cards.card import Card
from modkit.persona.cards.export import persona_card
from modkit.persona.cards.files import read_card, write_card
from modkit.persona.cards.lorebook import Lorebook, LoreEntry, read_lorebook
from modkit.persona.cards.macros import fill_macros

__all__ = [
    "Card",
    "LoreEntry",
    "Lorebook",
    "fill_macros",
    "persona_card",
    "read_card",
    "read_lorebook",
    "write_card",
]
