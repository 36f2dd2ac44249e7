"""Dialogue System for Unity in its other clothes: Chat Mapper XML, CSV, and the database's own `.asset` (Unity YAML).

Each is brought, one actor and one conversation at a time, into the shape of the JSON export, which
`unity_dialogue` reads. The YAML is the little of it that Unity writes; nothing in it makes objects.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import Element, xml_trees
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.unity_dialogue import Database

_LOCALISATION = 4
_MAX_SCALAR = 200_000  # characters of one value of an asset

# -- Chat Mapper XML --------------------------------------------------------------------------------


def _xml_sniff(file: DumpFile) -> float:
    return 1.0 if "<ChatMapperProject" in file.head[:4000] else 0.0


@reader("unity-dialogue-xml", "Chat Mapper XML", sniff=_xml_sniff, extensions=(".xml",))
def read_chat_mapper(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every entry of every conversation, as the Dialogue System for Unity and Chat Mapper export them."""
    database = Database(file)
    for element in xml_trees(file, ("Actor", "Conversation")):
        asset = _element(element)
        if element.tag == "Actor":
            database.actor(asset)
            continue
        entries = element.child("DialogEntries")
        children = entries.children if entries else []
        asset["dialogueEntries"] = [_element(child) for child in children if child.tag == "DialogEntry"]
        yield from database.conversation(asset)


def _element(element: Element) -> dict[str, Any]:
    fields = element.child("Fields")
    given = {key[:1].casefold() + key[1:]: value for key, value in element.attributes.items() if key != "ID"}
    return {
        **given,
        "id": element.attributes.get("ID", ""),
        "fields": [
            {
                "title": field.child_text("Title"),
                "value": field.child_text("Value"),
                "type": _LOCALISATION if field.attributes.get("Type") == "Localization" else 0,
            }
            for field in (fields.children if fields else [])
        ],
    }


# -- CSV --------------------------------------------------------------------------------------------

_HEADER = re.compile(r"(?m)^entrytag,ConvID,ID,Actor,Conversant,")
_SECTIONS = ("Actors", "Items", "Locations", "Variables", "Conversations", "DialogueEntries", "OutgoingLinks")
_COLUMNS = {"menutext": "Menu Text", "dialoguetext": "Dialogue Text"}


def _csv_sniff(file: DumpFile) -> float:
    start = file.head[:200].lstrip()
    return 1.0 if _HEADER.search(file.head) or start.startswith("Database\nName,Version,Author") else 0.0


def _rows(file: DumpFile) -> Iterator[tuple[int, list[str]]]:
    try:
        for number, line in file.lines():
            for row in csv.reader([line]):
                yield number, row
    except csv.Error as error:
        raise DumpError(f"{file.name} is damaged: {error}") from None


@reader("unity-dialogue-csv", "Dialogue System for Unity, CSV", sniff=_csv_sniff, extensions=(".csv",))
def read_unity_csv(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every entry, from the tables that stand one below the other in the file."""
    database = Database(file)
    section, titles, types = "", [""], [""]
    for _, row in _rows(file):
        if row and row[0] in _SECTIONS and not any(row[1:]):
            section, titles, types = row[0], [], []
        elif section and not titles:
            titles = row
        elif section and not types:
            types = row
        elif section in ("Actors", "Conversations", "DialogueEntries"):
            asset = _asset(row, titles, types)
            if section == "Actors":
                database.actor(asset)
            elif section == "Conversations":
                database.title(asset)
            else:
                yield from database.entry(asset)


def _asset(row: list[str], titles: list[str], types: list[str]) -> dict[str, Any]:
    asset: dict[str, Any] = {"fields": []}
    for number, (title, value) in enumerate(zip(titles, row)):
        value = value.replace("\\n", "\n").replace("\\r", "")
        if title in ("ID", "ConvID", "IsGroup"):
            asset[{"ID": "id", "ConvID": "conversationID", "IsGroup": "isGroup"}[title]] = value
        elif value != "{{omit}}":
            localised = number < len(types) and types[number] == "Localization"
            field = {"title": _COLUMNS.get(title.casefold(), title), "value": value}
            asset["fields"].append({**field, "type": _LOCALISATION if localised else 0})
    return asset


# -- the asset itself -------------------------------------------------------------------------------

_PAIR = re.compile(r"( *)(- )?([A-Za-z_][\w ]{0,60}):(?: (.*)|$)")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.)|$)", re.DOTALL)
_NAMED_ESCAPES = {"n": "\n", "t": "\t", "r": "", "0": "", "_": " ", "N": "\n", "L": "\n", "P": "\n"}


def _asset_sniff(file: DumpFile) -> float:
    head = file.head
    yaml = head.startswith("%YAML") and "MonoBehaviour:" in head[:4000]
    return 1.0 if yaml and "emphasisSettings:" in head and re.search(r"(?m)^  actors:", head) else 0.0


@reader("unity-dialogue-asset", "Dialogue System for Unity, asset", sniff=_asset_sniff, extensions=(".asset",))
def read_unity_asset(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every entry of a database saved as text, as projects keep it and AssetRipper writes it."""
    database = Database(file)
    for section, asset in _assets(file):
        if section == "actors":
            database.actor(asset)
        else:
            yield from database.conversation(asset)


def _assets(file: DumpFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """(section, object) of each actor and conversation, when its last line has been seen."""
    section = ""
    asset: dict[str, Any] | None = None
    target: dict[str, Any] = {}  # whose the next fields are
    field: dict[str, Any] = {}
    for indent, dash, key, value in _pairs(file):
        if indent == 2 and (not dash or key == "id"):
            if asset is not None:
                yield section, asset
            asset = None
            if not dash:
                section = key
            elif section in ("actors", "conversations"):
                asset = target = {"id": value, "fields": [], "dialogueEntries": []}
        elif asset is None:
            continue
        elif dash and key == "id" and indent == 4:
            target, field = {"id": value, "fields": []}, {}
            asset["dialogueEntries"].append(target)
        elif dash:
            field = {"title": value} if key == "title" else {}
            if field:
                target["fields"].append(field)
        elif key in ("value", "typeString") and field:
            field[key] = value
        elif key in ("conversationID", "isRoot", "isGroup"):
            target[key] = value
    if asset is not None:
        yield section, asset


def _pairs(file: DumpFile) -> Iterator[tuple[int, bool, str, str]]:
    """(indentation, begins a list item, key, value), values over several lines folded as YAML folds them."""
    open_pair: tuple[int, bool, str] | None = None
    parts: list[str] = []
    size = 0
    for _, line in file.lines():
        found = None if open_pair and _is_open(parts) else _PAIR.match(line)
        if found is None:
            if open_pair and size < _MAX_SCALAR:
                parts.append(line.strip())
                size += len(line)
            continue
        if open_pair:
            yield *open_pair, _scalar(parts)
        open_pair = (len(found.group(1)), bool(found.group(2)), found.group(3))
        parts = [(found.group(4) or "").strip()]
        size = len(parts[0])
    if open_pair:
        yield *open_pair, _scalar(parts)


def _is_open(parts: list[str]) -> bool:
    """Whether a quoted value has not come to its closing mark."""
    quote = parts[0][:1]
    if quote not in ('"', "'"):
        return False
    last = parts[-1][1:] if len(parts) == 1 else parts[-1]
    if not last.endswith(quote):
        return True
    marks = len(last) - len(last.rstrip(quote)) if quote == "'" else 1
    escaped = (len(last[:-1]) - len(last[:-1].rstrip("\\"))) % 2 if quote == '"' else marks % 2 == 0
    return bool(escaped)


def _scalar(parts: list[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        if text.endswith("\\") and parts[0].startswith('"'):
            text = text[:-1] + part
        else:
            text += ("" if text.endswith("\n") or not part else " ") + (part or "\n")
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _ESCAPE.sub(_unescaped, text[1:-1])
    return text


def _unescaped(found: re.Match[str]) -> str:
    code = found.group(1) or found.group(2)
    if code:
        return chr(int(code, 16))
    return _NAMED_ESCAPES.get(found.group(3) or "", found.group(3) or "")
