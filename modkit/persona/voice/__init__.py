"""How somebody talks, found in her own lines: statements that cite them, a card to edit, a page to read."""

from __future__ import annotations

from modkit.persona.voice.cardfile import card_text, merge_card, write_card_file
from modkit.persona.voice.census import Census, take_census
from modkit.persona.voice.report import write_report
from modkit.persona.voice.said import Said
from modkit.persona.voice.statements import Statement, describe

__all__ = [
    "Census",
    "Said",
    "Statement",
    "card_text",
    "describe",
    "merge_card",
    "take_census",
    "write_card_file",
    "write_report",
]
