"""Morrowind dialogue as `tes3conv` writes plugins: one JSON list of records, read piece by piece.

An answer belongs to the topic above it, and names its speaker by id, which an `Npc` or `Creature`
record of any file of the set gives a name. Race, class and faction alone name nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import entries, record, string

_TYPE = re.compile(r'"type"\s*:\s*"(?:Header|Dialogue|DialogueInfo|Npc|Creature)"')
_HEADER = re.compile(r'"type"\s*:\s*"Header"|"(?:dialogue_type|speaker_id|prev_id|file_type|num_objects)"\s*:')
_TOPIC = re.compile(r"@([^@#]{1,100})#")
_CHOICE = re.compile(r"^\s*choice[\s,]+(.{1,2000})$", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(r'"([^"\n]{1,500})"')
_KINDS = {"journal": "journal"}


def _sniff(file: DumpFile) -> float:
    if not file.head.lstrip().startswith("["):
        return 0.0
    return 0.95 if _TYPE.search(file.head) and _HEADER.search(file.head) else 0.0


def _type(entry: dict[str, Any]) -> str:
    return string(entry.get("type"))


def _scan(file: DumpFile, join: Join) -> None:
    names = join.table("morrowind.names")
    for value in entries(file):
        entry = record(value)
        if _type(entry) in ("Npc", "Creature") and string(entry.get("name")):
            names.setdefault(string(entry.get("id")).casefold(), string(entry["name"])[:200])


@reader("morrowind", "Morrowind dialogue (tes3conv)", sniff=_sniff, extensions=(".json",), scan=_scan)
def read_morrowind(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every answer, journal entry and choice."""
    names = join.table("morrowind.names")
    topic, kind = "", "dialogue"
    for value in entries(file):
        entry = record(value)
        if _type(entry) == "Dialogue":
            topic = string(entry.get("id"))
            written = string(entry.get("dialogue_type") or record(entry.get("data")).get("dialogue_type"))
            kind = _KINDS.get(written.casefold(), "dialogue")
        elif _type(entry) == "DialogueInfo":
            identifier = string(entry.get("id"))
            who = string(entry.get("speaker_id"))
            name = names.get(who.casefold(), who) if who and kind == "dialogue" else None
            place = f"record {identifier or '?'}"
            text = _TOPIC.sub(r"\1", string(entry.get("text")))
            speaker = name if isinstance(name, str) else None
            yield file.line(place, text, speaker, kind, scene=topic, id=identifier)
            for found in _CHOICE.finditer(string(entry.get("script_text"))[:50_000]):
                for choice in _QUOTED.findall(found.group(1)):
                    yield file.line(place, choice, kind="choice", scene=topic, addressee=speaker)
