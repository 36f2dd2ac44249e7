"""The journal of Cyberpunk 2077: text messages, emails, shards, the codex, objectives, web pages.

A tree of entries, each with a type. Its texts are keys of an onscreens file, or literal in mods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.wolvenkit import PLAYER, loc_value, onscreen_text, properties, shown, type_of

__all__ = ["read_journal", "scan_journal"]

_MAX_DEPTH = 80
_PHONE = ("gameJournalPhoneMessage", "gameJournalPhoneChoiceEntry")

# Which fields of a type are texts, and what kind of line they are.
_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gameJournalOnscreen": ("journal", ("title", "description")),
    "gameJournalCodexDescription": ("journal", ("subTitle", "textContent")),
    "gameJournalEmail": ("message", ("content",)),
    "gameJournalFile": ("journal", ("content",)),
    "gameJournalQuestObjective": ("journal", ("description",)),
    "gameJournalQuestSubObjective": ("journal", ("description",)),
    "gameJournalQuestDescription": ("journal", ("description",)),
    "gameJournalTarot": ("journal", ("name", "description")),
    "gameJournalInternetPage": ("journal", ()),
}


@dataclass(frozen=True, slots=True)
class _Around:
    """What the entries around one say about it."""

    contact: str | None = None
    scene: str | None = None


class _Journal:
    def __init__(self, file: DumpFile, join: Join, lang: str | None) -> None:
        self._file = file
        self._join = join
        self._lang = lang
        self._unresolved = 0

    def read(self, root: object) -> Iterator[Line | None]:
        stack: list[tuple[object, _Around, int]] = [(root, _Around(), 0)]
        while stack:
            value, around, depth = stack.pop()
            if depth > _MAX_DEPTH:
                continue
            if isinstance(value, list):
                stack.extend((item, around, depth + 1) for item in reversed(value))
                continue
            if not isinstance(value, dict):
                continue
            kind = type_of(value) or type_of(_data(value))
            node = properties(value)
            if kind.startswith("gameJournal"):
                around = self._inside(kind, node, around)
                yield from self._lines(kind, node, around)
            children = [node[key] for key in ("entry", "entries", "Entries") if key in node]
            stack.extend((child, around, depth + 1) for child in reversed(children))
        if self._unresolved:
            self._file.warn(f"{self._unresolved} texts are keys of an onscreens file that was not given")

    def _text(self, value: object, *, count: bool = True) -> str:
        raw = loc_value(value)
        text = onscreen_text(raw, self._join) if raw else ""
        if text is None:
            self._unresolved += count
        return text or ""

    def _inside(self, kind: str, node: dict[str, Any], around: _Around) -> _Around:
        identity = loc_value(node.get("id"))
        if kind == "gameJournalContact":
            name = self._text(node.get("name"), count=False) or identity
            return _Around(contact=name or None, scene=around.scene)
        if kind in ("gameJournalPhoneConversation", "gameJournalQuest", "gameJournalCodexEntry", "gameJournalEmail"):
            title = self._text(node.get("title"), count=False) or identity
            return replace(around, scene=title or around.scene)
        if kind in ("gameJournalFile", "gameJournalOnscreen", "gameJournalInternetPage"):
            return replace(around, scene=self._text(node.get("title"), count=False) or identity or around.scene)
        return around

    def _lines(self, kind: str, node: dict[str, Any], around: _Around) -> Iterator[Line | None]:
        identity = loc_value(node.get("id"))
        if kind == "gameJournalPhoneMessage":
            sender = loc_value(node.get("sender")).casefold()
            mine = sender in ("player", "1")
            yield self._line(
                identity,
                self._text(node.get("text")),
                PLAYER if mine else around.contact,
                "message",
                around.scene,
                addressee=around.contact if mine else None,
            )
        elif kind == "gameJournalPhoneChoiceEntry":
            yield self._line(
                identity, self._text(node.get("text")), None, "choice", around.scene, addressee=around.contact
            )
        elif kind in _TYPES:
            line_kind, fields = _TYPES[kind]
            speaker = self._text(node.get("sender"), count=False) or None
            addressee = self._text(node.get("addressee"), count=False) or None
            for key in fields:
                yield self._line(
                    identity, self._text(node.get(key)), speaker, line_kind, around.scene, addressee=addressee
                )
            texts = node.get("texts")
            for item in texts if isinstance(texts, list) else ():
                text = properties(item).get("text")
                yield self._line(identity, self._text(text), None, line_kind, around.scene)

    def _line(
        self,
        identity: str,
        text: str,
        speaker: str | None,
        kind: str,
        scene: str | None,
        *,
        addressee: str | None = None,
    ) -> Line | None:
        return self._file.line(
            f"entry {identity}" if identity else "journal",
            shown(text),
            speaker,
            kind,
            scene=scene,
            addressee=addressee,
            lang=self._lang,
            id=identity or None,
        )


def _data(value: dict[str, Any]) -> dict[str, Any]:
    inner = value.get("Data")
    return inner if isinstance(inner, dict) else {}


def scan_journal(node: dict[str, Any], join: Join) -> None:
    """Note which texts of an onscreens file this journal shows, so that they are not said a second time."""
    mine = join.table("wolvenkit.shown")
    stack: list[tuple[object, int]] = [(node, 0)]
    while stack:
        value, depth = stack.pop()
        if isinstance(value, list) and depth <= _MAX_DEPTH:
            stack.extend((item, depth + 1) for item in value)
        elif isinstance(value, dict) and depth <= _MAX_DEPTH:
            kind = type_of(value) or type_of(_data(value))
            values = properties(value)
            texts = ("text",) if kind in _PHONE else _TYPES.get(kind, ("", ()))[1]
            pages = values.get("texts")
            shown_here = [values.get(key) for key in texts]
            shown_here += [properties(item).get("text") for item in (pages if isinstance(pages, list) else ())]
            for raw in map(loc_value, shown_here):
                if raw:
                    mine[raw.removeprefix("LocKey#")] = True
            stack.extend((values[key], depth + 1) for key in ("entry", "entries", "Entries") if key in values)


def read_journal(file: DumpFile, node: dict[str, Any], join: Join, lang: str | None) -> Iterator[Line | None]:
    """Every message, reply, email, shard, codex text and objective of a journal, in the order of the tree."""
    yield from _Journal(file, join, lang).read(node)
