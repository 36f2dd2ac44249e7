"""RPG Maker MV and MZ: maps, common events, troops, with the names of actors and maps.

A message box is a command 101 and the 401 lines below it. Who speaks stands in the name box (MZ), in
a prefix some plugin reads, in the face an actor has, or it is the event one talks to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import parse_json
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_KEPT_WORDS = """
    events pages list code indent parameters name id displayName image characterName faceName faceIndex
    parentId battlerName members scrollX trigger
    """
_KEPT = frozenset(_KEPT_WORDS.split())

_MESSAGE, _TEXT, _CHOICES, _SCROLL, _SCROLL_TEXT = 101, 401, 102, 105, 405

_COMMANDS = re.compile(r'"code":\s?\d+,\s{0,20}"indent":\s?\d+,\s{0,20}"parameters":')
_MAP_MARKS = ('"autoplayBgm"', '"encounterList"', '"tilesetId"')
_ACTOR_MARKS = ('"faceName"', '"battlerName"', '"initialLevel"')
_INFO_MARKS = ('"parentId"', '"scrollX"', '"expanded"')
_TROOP_MARKS = ('"members"', '"pages"', '"enemyId"')
_COMMON_MARKS = ('"list"', '"switchId"', '"trigger"')
# The rest of a game's data folder: nobody speaks in it, and that is no failure.
_DATABASE = re.compile(r"\s*\[\s*null,\s*\{\s*\"id\":\s*1\b")
_DATABASE_FILES = frozenset(
    ("animations", "armors", "classes", "enemies", "items", "skills", "states", "tilesets", "weapons")
)
_SYSTEM_MARKS = ('"airship"', '"advanced"', '"armorTypes"', '"attackMotions"')
_MAP_FILE = re.compile(r"map0*(\d{1,6})\Z", re.IGNORECASE)

_STOCK_FACE = re.compile(r"(?:actor|people|evil|monster|nature|sf_|behemoth|spiritual|package|vehicle)", re.IGNORECASE)
_UNNAMED_EVENT = re.compile(r"(?:EV|Event)\s?\d{1,6}\Z|\s*\Z", re.IGNORECASE)

_NAME_CODE = re.compile(r"\\n[crt]?[0-9]?<([^<>\n]{1,80})>", re.IGNORECASE)
_COLOUR_NAME = re.compile(r"\\c\[\d{1,4}\]([^\\\n]{1,60}?)(:?)\\c\[\d{1,4}\](:?)[ \t]*", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"([^\W\d_][^:\\\n]{0,40}):(?:[ \t]+|$)")
_ACTOR_CODE = re.compile(r"\\n\[(\d{1,6})\]", re.IGNORECASE)
_VALUE_CODE = re.compile(r"\\([vp])\[(\d{1,6})\]", re.IGNORECASE)
_CODE = re.compile(r"\\[A-Za-z]{1,20}(?:\[[^\]\n]{0,80}\]|<[^>\n]{0,80}>)|\\[{}.|!><^$#@]|\\(?:FR|FB|FI|OC)(?![a-z])")
_VALUES = {"v": "variable", "p": "party member"}


def _sniff(file: DumpFile) -> float:
    head = file.head
    if head.lstrip()[:1] not in "[{":
        return 0.0
    sets = (_MAP_MARKS, _ACTOR_MARKS, _INFO_MARKS, _TROOP_MARKS, _COMMON_MARKS)
    if _COMMANDS.search(head) or any(all(mark in head for mark in marks) for marks in sets):
        return 0.9
    return 0.85 if _is_database(file) else 0.0


def _is_database(file: DumpFile) -> bool:
    stem = file.path.stem.lower()
    if stem == "system":
        return any(mark in file.head for mark in _SYSTEM_MARKS)
    return stem in _DATABASE_FILES and _DATABASE.match(file.head) is not None


def _items(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _scan(file: DumpFile, join: Join) -> None:
    if not any(all(mark in file.head for mark in marks) for marks in (_ACTOR_MARKS, _INFO_MARKS)):
        return
    actors, faces, maps = (join.table(f"rpgmaker.{topic}") for topic in ("actors", "faces", "maps"))
    for item in _items(parse_json(file, keep=_KEPT)):
        name, number = item.get("name"), str(item.get("id", ""))
        if not isinstance(name, str) or not name.strip():
            continue
        if "battlerName" in item:
            actors[number] = name
            if isinstance(item.get("faceName"), str) and item["faceName"]:
                faces.setdefault(f"{item['faceName']}\t{item.get('faceIndex')}", name)
        elif "parentId" in item:
            maps[number] = name


@reader("rpgmaker", "RPG Maker MV or MZ", sniff=_sniff, extensions=(".json",), scan=_scan)
def read_rpgmaker(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every message box, choice and scrolling text of a map, of common events or of troops."""
    if _is_database(file):
        return
    root = parse_json(file, keep=_KEPT)
    if isinstance(root, dict) and "events" in root:
        scene = _map_name(file, root, join)
        for event in _items(root["events"]):
            yield from _Event(file, join, event, scene).lines()
    elif isinstance(root, list):
        for item in _items(root):
            name = item.get("name")
            scene = name if isinstance(name, str) and name else file.path.stem
            yield from _Event(file, join, item, scene, speaks=False).lines()
    else:
        raise DumpError(f"{file.name} is not a map, a list of events or a list of actors of RPG Maker")


def _map_name(file: DumpFile, root: dict[str, Any], join: Join) -> str:
    shown = root.get("displayName")
    if isinstance(shown, str) and shown.strip():
        return shown
    number = _MAP_FILE.match(file.path.stem)
    known = join.table("rpgmaker.maps").get(number.group(1)) if number else None
    return known if isinstance(known, str) else file.path.stem


class _Event:
    """One event of a map, a common event or a troop: its pages in order."""

    def __init__(self, file: DumpFile, join: Join, event: dict[str, Any], scene: str, *, speaks: bool = True) -> None:
        self._file = file
        self._join = join
        self._event = event
        self._scene = scene
        name = event.get("name")
        self._name = name.strip() if isinstance(name, str) and speaks and not _UNNAMED_EVENT.match(name) else None

    def lines(self) -> Iterator[Line | None]:
        number = str(self._event.get("id", "?"))[:20]
        if isinstance(self._event.get("list"), list):
            yield from self._commands(self._event["list"], f"event {number}", None)
        for count, page in enumerate(_items(self._event.get("pages")), 1):
            name = self._name if _is_somebody(page) else None
            if isinstance(page.get("list"), list):
                yield from self._commands(page["list"], f"event {number}, page {count}", name)

    def _commands(self, commands: list[Any], place: str, name: str | None) -> Iterator[Line | None]:
        header: list[Any] = []
        texts: list[str] = []
        opened, start = 0, 0

        def close() -> Line | None:
            if not texts:
                return None
            where = f"{place}, command {start}"
            if opened == _SCROLL:
                return self._file.line(where, self._shown(" ".join(texts)), kind="narration", scene=self._scene)
            speaker, rest = self._speaker(header, texts, name)
            return self._file.line(where, self._shown(rest), speaker, scene=self._scene)

        for index, command in enumerate(commands):
            if not isinstance(command, dict):
                continue
            code, parameters = command.get("code"), command.get("parameters")
            parameters = parameters if isinstance(parameters, list) else []
            if code in (_TEXT, _SCROLL_TEXT):
                if parameters and isinstance(parameters[0], str) and len(texts) < 500:
                    texts.append(parameters[0])
                continue
            yield close()
            header, texts, opened, start = parameters, [], code if isinstance(code, int) else 0, index
            if code == _CHOICES and parameters and isinstance(parameters[0], list):
                for choice in parameters[0]:
                    if isinstance(choice, str):
                        where = f"{place}, command {index}"
                        yield self._file.line(where, self._shown(choice), kind="choice", scene=self._scene)
        yield close()

    def _speaker(self, header: list[Any], texts: list[str], name: str | None) -> tuple[str | None, str]:
        """(speaker, text without the name in it) of a message box, from the surest statement to the weakest."""
        first = texts[0]
        text = "\n".join(texts)
        box = header[4] if len(header) > 4 and isinstance(header[4], str) else ""
        if box.strip():
            return self._shown(box), text
        coded = _NAME_CODE.search(first)
        if coded:
            return self._shown(coded.group(1)), text.replace(coded.group(0), "", 1)
        coloured = _COLOUR_NAME.match(first)
        if coloured and (coloured.group(2) or coloured.group(3) or coloured.end() == len(first)) and len(texts) > 0:
            rest = text[coloured.end() :]
            if rest.strip():
                return self._shown(coloured.group(1)), rest
        plain = _PLAIN_NAME.match(first)
        if (
            plain
            and (plain.end() == len(first) or self._is_known(plain.group(1), name))
            and text[plain.end() :].strip()
        ):
            return plain.group(1).strip(), text[plain.end() :]
        face = header[0] if header and isinstance(header[0], str) else ""
        if face:
            known = self._join.table("rpgmaker.faces").get(f"{face}\t{header[1] if len(header) > 1 else 0}")
            if isinstance(known, str):
                return known, text
            if not _STOCK_FACE.match(face.lstrip("!$")):
                return face.lstrip("!$"), text
        return name, text

    def _is_known(self, name: str, event: str | None) -> bool:
        known = self._join.table("rpgmaker.actors").values()
        return name.strip() == event or name.strip() in known

    def _shown(self, text: str) -> str:
        """`text` as the box shows it: codes out, the names of actors in, variables visible."""
        if "\\" not in text and "\x1b" not in text:
            return text
        text = _ACTOR_CODE.sub(self._actor, text.replace("\\\\", "\x01"))
        text = _VALUE_CODE.sub(lambda found: f"[{_VALUES[found.group(1).lower()]} {found.group(2)}]", text)
        text = _CODE.sub("", text)
        return text.replace("\\G", "[currency]").replace("\\n", " ").replace("\x01", "\\")

    def _actor(self, found: re.Match[str]) -> str:
        name = self._join.table("rpgmaker.actors").get(found.group(1))
        return name if isinstance(name, str) else f"[actor {found.group(1)}]"


def _is_somebody(page: dict[str, Any]) -> bool:
    """Whether a page shows a person: doors, chests and signs have pictures marked with "!", triggers have none."""
    image = page.get("image")
    if not isinstance(image, dict):
        return True
    sheet = image.get("characterName")
    return isinstance(sheet, str) and bool(sheet) and not sheet.startswith(("!", "$!"))
