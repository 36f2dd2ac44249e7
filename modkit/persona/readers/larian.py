"""Baldur's Gate 3 and Divinity: Original Sin 2, as LSLib converts them: loca XML, dialogues (LSX, LSJ).

A dialogue names its speakers by the ids of templates and its texts by handles; a loca file has the
texts, a template file the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import Element, parse_json, plain_markup, xml_trees
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import string

_NARRATOR = "-666"
_QUESTIONS = ("tagquestion", "activeroll", "passiveroll", "trade")
_NAMED = ("GameObjects", "Origin")
_MAX_DEPTH = 60
_MAX_TEXT = 20_000  # characters of a text that stands in the dialogue itself
_MAX_NODES = 5_000_000
_LANGUAGE = re.compile(r"[\\/]localization[\\/](\w{3,30})[\\/]", re.IGNORECASE)
_UNKNOWN = "s_HandleUnknown"  # a text that was never written
_REGION = re.compile(r'<region\s+id="|"regions"\s{0,10}:')
_QUESTS = re.compile(r'<region\s+id="(?:Quests|Objectives)"|"(?:Quests|Objectives)"\s{0,10}:')


def _loca_sniff(file: DumpFile) -> float:
    return 1.0 if "<contentList" in file.head[:4000] else 0.0


def _loca(file: DumpFile) -> Iterator[tuple[str, str, int]]:
    for element in xml_trees(file, ("content",)):
        handle = element.attributes.get("contentuid", "")
        if handle:
            yield handle, element.text, element.line


def _loca_language(file: DumpFile) -> str | None:
    found = _LANGUAGE.search("/" + file.name)
    return found.group(1).casefold() if found else None


def _scan_loca(file: DumpFile, join: Join) -> None:
    languages = join.table("larian.loca")
    texts = languages.setdefault(_loca_language(file) or "", {})
    assert isinstance(texts, dict)
    try:
        for handle, text, _ in _loca(file):
            texts.setdefault(handle.partition(";")[0], text)
    except DumpError as error:
        file.warn(str(error))


@reader("larian loca", "Larian loca XML", sniff=_loca_sniff, extensions=(".xml",), scan=_scan_loca)
def read_loca(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Its texts by themselves, where no dialogue of the set says whose they are."""
    if join.table("larian.dialogs"):
        return
    lang = _loca_language(file)
    for handle, text, line in _loca(file):
        yield file.line(line, _shown(text), kind="narration", lang=lang, id=handle)


def _sniff(file: DumpFile) -> float:
    head = file.head[:8000]
    xml = "<save" in head and '<region id="' in head
    return 0.95 if _REGION.search(head) and (xml or ('"save"' in head and head.lstrip()[:1] == "{")) else 0.0


def _is_json(file: DumpFile) -> bool:
    return file.head.lstrip()[:1] == "{"


def _json_regions(file: DumpFile) -> Iterator[tuple[str, dict[str, Any]]]:
    value = parse_json(file)
    save = value.get("save") if isinstance(value, dict) else None
    regions = save.get("regions") if isinstance(save, dict) else None
    if not isinstance(regions, dict):
        raise DumpError(f"{file.name} holds no region of a Larian file")
    for name, region in regions.items():
        if isinstance(region, dict):
            yield name, region


def _dialogs(file: DumpFile) -> Iterator[dict[str, Any]]:
    """The contents of each dialogue, LSX brought into the shape of LSJ: lists of nodes by their id."""
    if _is_json(file):
        yield from (region for name, region in _json_regions(file) if name == "dialog")
    elif '<region id="dialog"' in file.head:
        yield from map(_node, xml_trees(file, ("node#dialog",)))


def _templates(file: DumpFile, kinds: tuple[str, ...] = _NAMED) -> Iterator[dict[str, Any]]:
    """Every template and origin, one at a time: a game's merged templates are hundreds of megabytes."""
    if _is_json(file):
        for _, region in _json_regions(file):
            for kind in kinds:
                yield from _nodes(region, kind)
    else:
        yield from map(_node, xml_trees(file, [f"node#{kind}" for kind in kinds]))


def _node(element: Element, depth: int = 0) -> dict[str, Any]:
    node: dict[str, Any] = {}
    if depth > _MAX_DEPTH:
        return node
    for child in element.children:
        if child.tag == "attribute":
            node[child.attributes.get("id", "")] = child.attributes
        elif child.tag == "children":
            for below in child.children:
                if below.tag == "node":
                    inside = node.setdefault(below.attributes.get("id", ""), [])
                    if isinstance(inside, list):
                        inside.append(_node(below, depth + 1))
    return node


def _nodes(root: object, name: str) -> Iterator[dict[str, Any]]:
    """Every node called `name` below `root`, in document order, not looking inside those found."""
    stack: list[tuple[object, str, int]] = [(root, "", 0)]
    count = 0
    while stack:
        value, key, depth = stack.pop()
        count += 1
        if depth > _MAX_DEPTH or count > _MAX_NODES:
            continue
        if isinstance(value, list):
            stack.extend((item, key, depth + 1) for item in reversed(value))
        elif isinstance(value, dict):
            if key == name:
                yield value
                continue
            stack.extend((item, each, depth + 1) for each, item in reversed(value.items()))


def _value(node: dict[str, Any], key: str, inner: str = "value", limit: int = 400) -> str:
    found = node.get(key)
    if isinstance(found, list):
        found = found[0] if found else None
    if isinstance(found, dict):
        found = found.get(inner)
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        return ""
    return str(found).strip()[:limit]


def _scan(file: DumpFile, join: Join) -> None:
    names, parents, written = (join.table(f"larian.{topic}") for topic in ("names", "parents", "written"))
    if re.search(r'<region\s+id="dialog"|"dialog"\s{0,10}:', file.head):
        join.table("larian.dialogs")[file.name] = True
        return
    try:
        for item in _templates(file):
            handle, parent = _value(item, "DisplayName", "handle"), _value(item, "TemplateName")
            for key in ("MapKey", "UUID", "GlobalTemplate"):
                if each := _value(item, key):
                    if handle:
                        names.setdefault(each, handle)
                        written.setdefault(handle, _value(item, "DisplayName"))
                    if parent:
                        parents.setdefault(each, parent)
    except DumpError as error:
        file.warn(str(error))


@reader("larian", "Larian dialogue (LSX, LSJ)", sniff=_sniff, extensions=(".lsx", ".lsj"), scan=_scan)
def read_larian(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every text of a dialogue, in the order of its nodes; a player's answers are choices."""
    for content in _dialogs(file):
        yield from _Dialog(file, join, content).lines()
    yield from _quests(file, join)


def _quests(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """What the journal says at each step of a quest."""
    if _QUESTS.search(file.head):
        for number, quest in enumerate(_templates(file, ("Quest", "Objective")), 1):
            name = _value(quest, "QuestID") or None
            for step in [*_nodes(quest, "QuestStep"), quest]:
                key = _value(step, "ID") or _value(step, "ObjectiveID") or str(number)
                handle = _value(step, "Description", "handle")
                for lang, said in _texts_of(join, step, "Description"):
                    yield file.line(f"step {key}", said, None, "journal", scene=name, lang=lang, id=handle)


def _texts_of(join: Join, node: dict[str, Any], key: str) -> list[tuple[str | None, str]]:
    """(language, text) of a translated string: from the loca files, else what stands in the dialogue itself."""
    handle = _value(node, key, "handle")
    languages = join.table("larian.loca")
    found = [
        (lang or None, _shown(texts[handle]))
        for lang, texts in languages.items()
        if isinstance(texts, dict) and isinstance(texts.get(handle), str)
    ]
    written = _value(node, key, limit=_MAX_TEXT)
    return found or ([(None, _shown(written))] if written else [])


class _Dialog:
    def __init__(self, file: DumpFile, join: Join, content: dict[str, Any]) -> None:
        self._file = file
        self._join = join
        self._content = content
        self._speakers: dict[str, str] = {}
        for speaker in _nodes(content.get("speakerlist"), "speaker"):
            listed = _value(speaker, "list") or _value(speaker, "SpeakerMappingId")
            self._speakers[_value(speaker, "index")] = listed

    def lines(self) -> Iterator[Line | None]:
        missing = 0
        scene = self._file.path.stem
        for number, node in enumerate(_nodes(self._content.get("nodes"), "node"), 1):
            kind, speaker = self._said_by(node)
            place = f"node {_value(node, 'UUID') or number}"
            for text in _nodes(node.get("TaggedTexts"), "TagText"):
                said = text if isinstance(text.get("TagText"), (dict, list)) else {"TagText": text}
                handle = _value(said, "TagText", "handle")
                found = [] if handle.endswith(_UNKNOWN) else _texts_of(self._join, said, "TagText")
                for lang, words in found:
                    yield self._file.line(place, words, speaker, kind, scene=scene, lang=lang, id=handle or None)
                missing += bool(handle) and not found and not handle.endswith(_UNKNOWN)
        if missing:
            self._file.warn(f"{missing} texts are in a loca XML that was not given")

    def _said_by(self, node: dict[str, Any]) -> tuple[str, str | None]:
        if _value(node, "constructor").casefold() in _QUESTIONS:
            return "choice", None
        index = _value(node, "speaker")
        if index == _NARRATOR:
            return "narration", None
        ids = [each.strip() for each in self._speakers.get(index, "").split(";") if each.strip()]
        # One slot may list several people, of whom the game takes who is there: then nobody is named.
        names = {self._name(each) or (each if len(ids) == 1 else "") for each in ids[:50]}
        return "dialogue", (names.pop() or None) if len(names) == 1 else None

    def _name(self, key: str) -> str | None:
        names, parents = self._join.table("larian.names"), self._join.table("larian.parents")
        for _ in range(20):  # a template has its name from the one it is made from
            handle = names.get(key)
            for texts in self._join.table("larian.loca").values() if isinstance(handle, str) else ():
                if isinstance(texts, dict) and handle in texts:
                    return _shown(texts[handle])
            if isinstance(handle, str) and (name := string(self._join.table("larian.written").get(handle))):
                return _shown(name)
            parent = parents.get(key)
            if not isinstance(parent, str):
                return None
            key = parent
        return None


def _shown(text: str) -> str:
    text = plain_markup(text).strip()
    while len(text) > 2 and (text[0], text[-1]) in (("*", "*"), ("(", ")")) and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text
