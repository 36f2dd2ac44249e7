"""Personas: from the dialogue files modders have to a character who remembers and speaks.

from modkit.persona import Persona, NPC, build
"""

from __future__ import annotations

from modkit.persona.actions import Actions, Deed
from modkit.persona.build import BuildReport, build
from modkit.persona.conversation import Conversation
from modkit.persona.gates import Gate
from modkit.persona.guard import Caught, Guard
from modkit.persona.judge import Judge, Recalled
from modkit.persona.knowledge import Knowledge, Lore, Rule
from modkit.persona.lines import Line, Source
from modkit.persona.memory import Memory
from modkit.persona.mind import Experience, Mind
from modkit.persona.npc import NPC
from modkit.persona.persona import Persona
from modkit.persona.readers import DumpFile, Join, Problem, Reading, reader
from modkit.persona.recall import Retrieval
from modkit.persona.save import Save, SavedTurn
from modkit.persona.turn import Turn
from modkit.persona.vectors import Embedder, EngineEmbedder, open_embedder

__all__ = [
    "NPC",
    "Actions",
    "BuildReport",
    "Caught",
    "Conversation",
    "Deed",
    "DumpFile",
    "Embedder",
    "EngineEmbedder",
    "Experience",
    "Gate",
    "Guard",
    "Join",
    "Judge",
    "Knowledge",
    "Line",
    "Lore",
    "Memory",
    "Mind",
    "Persona",
    "Problem",
    "Reading",
    "Recalled",
    "Retrieval",
    "Rule",
    "Save",
    "SavedTurn",
    "Source",
    "Turn",
    "build",
    "open_embedder",
    "reader",
]
