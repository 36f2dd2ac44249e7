"""Personas: from the dialogue files modders have to a character who remembers and speaks.

from modkit.persona import Persona, NPC, build

Names are loaded at first use: who only plays needs none of the readers, and none of what builds a persona.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modkit.lazy import door

if TYPE_CHECKING:
    from modkit.persona.actions import Actions, Deed
    from modkit.persona.building import BuildReport, build
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

__getattr__, __dir__ = door(
    __name__,
    {
        "actions": ("Actions", "Deed"),
        "building": ("BuildReport", "build"),
        "conversation": ("Conversation",),
        "gates": ("Gate",),
        "guard": ("Caught", "Guard"),
        "judge": ("Judge", "Recalled"),
        "knowledge": ("Knowledge", "Lore", "Rule"),
        "lines": ("Line", "Source"),
        "memory": ("Memory",),
        "mind": ("Experience", "Mind"),
        "npc": ("NPC",),
        "persona": ("Persona",),
        "readers": ("DumpFile", "Join", "Problem", "Reading", "reader"),
        "recall": ("Retrieval",),
        "save": ("Save", "SavedTurn"),
        "turn": ("Turn",),
        "vectors": ("Embedder", "EngineEmbedder", "open_embedder"),
    },
)
