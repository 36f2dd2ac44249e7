"""Dialogue System for Unity, its database exported as JSON (its other exports: `unity_exports`).

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
_PAUSE = re.compile(r"\\[.,^<>]")  # of its typewriter
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
    return plain_markup(_PAUSE.sub("", _CODES.sub("", _EMPHASIS.sub("", text))))


@reader("unity-dialogue", "Dialogue System for Unity", sniff=_sniff, extensions=(".json",))
def read_unity_dialogue(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every entry of every conversation, with its translations."""
    value = record(parse_json(file))
    database = Database(file)
    for actor in records(value.get("actors")):
        database.actor(actor)
    for conversation in records(value.get("conversations")):
        yield from database.conversation(conversation)


class Database:
    """What a database has told so far of its actors; gives the lines of its conversations, in any export's clothes."""

    def __init__(self, file: DumpFile) -> None:
        self._file = file
        self._names: dict[str, str] = {}
        self._players: set[str] = set()
        self._titles: dict[str, str] = {}

    def actor(self, actor: dict[str, Any]) -> None:
        """Note an actor's name, and whether it is the player."""
        fields, number = _fields(actor), string(actor.get("id"))
        self._names[number] = fields.get("display name") or fields.get("name", "")
        if fields.get("isplayer", "").casefold() == "true":
            self._players.add(number)

    def title(self, conversation: dict[str, Any]) -> str:
        """Note the title of a conversation, its number where it has none."""
        number = string(conversation.get("id"))
        return self._titles.setdefault(number, _fields(conversation).get("title") or number)

    def conversation(self, conversation: dict[str, Any]) -> Iterator[Line | None]:
        """The lines of all its entries."""
        self.title(conversation)
        for entry in records(conversation.get("dialogueEntries") or conversation.get("entries")):
            entry.setdefault("conversationID", conversation.get("id"))
            yield from self.entry(entry)

    def entry(self, entry: dict[str, Any]) -> Iterator[Line | None]:
        """An entry's text and menu text, and their translations."""
        if _is_true(entry.get("isGroup")):
            return
        file, fields = self._file, _fields(entry)
        conversation = string(entry.get("conversationID"))
        scene = self._titles.get(conversation, conversation)
        actor = fields.get("actor") or string(entry.get("actorID") or entry.get("ActorID"))
        conversant = fields.get("conversant") or string(entry.get("conversantID") or entry.get("ConversantID"))
        place = f"{scene} entry {string(entry.get('id'))}"
        text, menu = fields.get("dialogue text", ""), fields.get("menu text", "")
        if _is_true(entry.get("isRoot")) and not text:
            return
        kind = "choice" if actor in self._players else "dialogue"
        speaker, addressee = self._names.get(actor), self._names.get(conversant)
        identifier = f"{conversation}:{string(entry.get('id'))}"
        yield file.line(place, _plain(text or menu), speaker, kind, scene=scene, addressee=addressee, id=identifier)
        if menu and text and menu != text and kind == "choice":
            menu_id = f"{identifier}:menu"
            yield file.line(place, _plain(menu), speaker, kind, scene=scene, addressee=addressee, id=menu_id)
        for language, which, words in _translations(entry):
            if not which or not text:
                yield file.line(
                    place, _plain(words), speaker, kind, scene=scene, addressee=addressee, lang=language, id=identifier
                )


def _is_true(value: object) -> bool:
    return value is True or string(value).casefold() in ("1", "true")
