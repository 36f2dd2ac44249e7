"""Dialogue System for Unity, its database exported as JSON.

An entry names its actor and its conversant by number; an actor whose field IsPlayer is true is the
player, whose entries are choices. An empty dialogue text says the menu text, as in the game.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modkit.persona.lines import Line
from modkit.persona.readers.documents import parse_json, plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import record, records, string

_SHAPE = re.compile(r'"(?:dialogueEntries|conversations)"\s*:\s*\[|"actors"\s*:\s*\[\s*\{[^{}]{0,300}"fields"\s*:')
_EMPHASIS = re.compile(r"\[/?em\d{1,2}\]")
_CODES = re.compile(r"\[(?:a|f|auto|nosubtitle|passive|always|position|panel|pic[aclx]?|em\d)(?:=[^\[\]]{0,60})?\]")
_LOCALISATION = 4  # the field type that holds a translation


def _sniff(file: DumpFile) -> float:
    head = file.head
    return 0.95 if head.lstrip().startswith("{") and _SHAPE.search(head) and '"fields"' in head else 0.0


def _fields(value: dict[str, Any]) -> dict[str, str]:
    """Title to value of an object's fields, titles folded."""
    found: dict[str, str] = {}
    for field in records(value.get("fields")):
        found.setdefault(string(field.get("title")).casefold(), string(field.get("value")))
    return found


def _translations(entry: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(language, "" or "menu text", text) of an entry's localisation fields."""
    for field in records(entry.get("fields")):
        title = string(field.get("title")).strip()
        if field.get("type") != _LOCALISATION and field.get("typeString") != "CustomFieldType_Localization":
            continue
        menu = title.casefold().startswith("menu text ")
        language = title[10:] if menu else title
        if re.fullmatch(r"[A-Za-z]{2,3}(?:[-_]\w{2,8})?", language):
            yield language, "menu text" if menu else "", string(field.get("value"))


def _plain(text: str) -> str:
    return plain_markup(_CODES.sub("", _EMPHASIS.sub("", text)))


@reader("unity-dialogue", "Dialogue System for Unity", sniff=_sniff, extensions=(".json",))
def read_unity_dialogue(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every entry of every conversation, with its translations."""
    database = record(parse_json(file))
    names: dict[str, str] = {}
    players: set[str] = set()
    for actor in records(database.get("actors")):
        fields, number = _fields(actor), string(actor.get("id"))
        names[number] = fields.get("display name") or fields.get("name", "")
        if fields.get("isplayer", "").casefold() == "true":
            players.add(number)
    for conversation in records(database.get("conversations")):
        title = _fields(conversation).get("title") or string(conversation.get("id"))
        for entry in records(conversation.get("dialogueEntries") or conversation.get("entries")):
            yield from _entry(file, entry, title, names, players)


def _entry(
    file: DumpFile, entry: dict[str, Any], scene: str, names: dict[str, str], players: set[str]
) -> Iterator[Line | None]:
    if entry.get("isGroup") is True:
        return
    fields = _fields(entry)
    actor = fields.get("actor") or string(entry.get("actorID") or entry.get("ActorID"))
    conversant = fields.get("conversant") or string(entry.get("conversantID") or entry.get("ConversantID"))
    place = f"{scene} entry {string(entry.get('id'))}"
    text, menu = fields.get("dialogue text", ""), fields.get("menu text", "")
    if entry.get("isRoot") is True and not text:
        return
    kind = "choice" if actor in players else "dialogue"
    speaker, addressee = names.get(actor), names.get(conversant)
    identifier = f"{string(entry.get('conversationID'))}:{string(entry.get('id'))}"
    yield file.line(place, _plain(text or menu), speaker, kind, scene=scene, addressee=addressee, id=identifier)
    if menu and text and menu != text and kind == "choice":
        yield file.line(place, _plain(menu), speaker, kind, scene=scene, addressee=addressee, id=f"{identifier}:menu")
    for language, which, words in _translations(entry):
        if not which or not text:
            yield file.line(
                place, _plain(words), speaker, kind, scene=scene, addressee=addressee, lang=language, id=identifier
            )
