"""Readers: from the files modders have to lines, one module per format.

    from modkit.persona.readers import Reading
    for line in Reading(["dump/"]):
        ...

A format of your own is one function: see `reader`.
"""

from __future__ import annotations

from modkit.persona.readers import (  # noqa: F401  imported because each registers itself
    articy,
    captions,
    cdda,
    creationkit,
    cyberpunk,
    fallout,
    gettext,
    godot_dialogue,
    ink,
    ink_json,
    jsonl,
    larian,
    minecraft,
    morrowind,
    rpgmaker,
    rpy,
    sillytavern,
    stardew,
    table,
    transcript,
    twee,
    unity_dialogue,
    unity_exports,
    weidu,
    wesnoth,
    witcher,
    xtranslator,
    yarn,
)
from modkit.persona.readers.reading import Problem, Reading
from modkit.persona.readers.registry import Join, Reader, all_readers, best_reader, reader
from modkit.persona.readers.source import DumpFile

__all__ = [
    "DumpFile",
    "Join",
    "Problem",
    "Reader",
    "Reading",
    "all_readers",
    "best_reader",
    "reader",
]
