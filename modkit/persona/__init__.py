"""Personas: from the dialogue files modders have to a character who remembers and speaks.

from modkit.persona import Persona, NPC, build
"""

from __future__ import annotations

from modkit.persona.build import BuildReport, build
from modkit.persona.lines import Line, Source
from modkit.persona.memory import Memory
from modkit.persona.npc import NPC, Turn
from modkit.persona.persona import Persona
from modkit.persona.readers import DumpFile, Join, Problem, Reading, reader
from modkit.persona.save import Save, SavedTurn

__all__ = [
    "NPC",
    "BuildReport",
    "DumpFile",
    "Join",
    "Line",
    "Memory",
    "Persona",
    "Problem",
    "Reading",
    "Save",
    "SavedTurn",
    "Source",
    "Turn",
    "build",
    "reader",
]
