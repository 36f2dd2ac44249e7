"""Cyberpunk 2077 files as WolvenKit writes them to JSON: their shapes, their keys, their markup.

The shape changed between versions: 0.0.1 puts `Type` and `Properties` around everything and leaves
default values out, 0.0.8 and later have `$type` beside the values. Walking for types reads both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modkit.persona.readers.documents import number_text, parse_json, plain_markup
from modkit.persona.readers.registry import Join
from modkit.persona.readers.source import DumpFile

__all__ = [
    "JOURNAL",
    "ONSCREENS",
    "PLAYER",
    "SCENE",
    "SUBTITLES",
    "VOICES",
    "language",
    "load",
    "loc_value",
    "onscreen_text",
    "properties",
    "shown",
    "type_of",
    "variant",
    "voice_of",
    "walk",
]

PLAYER = "V"
SCENE = "scnSceneResource"
SUBTITLES = "localizationPersistenceSubtitleEntries"
ONSCREENS = "localizationPersistenceOnScreenEntries"
VOICES = "locVoiceoverMap"
JOURNAL = "gameJournalResource"

MAX_BYTES = 192 * 1024 * 1024  # of one document; what no reader needs is dropped while it is parsed
_MAX_DEPTH = 80

# Every key that is looked at, and every key on the way to one.
_KEPT_WORDS = """
    Header ArchiveFileName WKitJsonVersion Data RootChunk Properties $type Type $value root Root entries entry Entries
    value Value val id ruid HandleId
    stringId femaleVariant maleVariant primaryKey secondaryKey femaleResPath maleResPath DepotPath
    actors playerActors actorId actorName screenplayStore lines options speaker addressee locstringId usage
    playerGenderMask mask locStore vdEntries vpEntries localeId signature variantId content
    name sender text title subtitle description textContent texts subTitle
    """
_KEPT = frozenset(_KEPT_WORDS.split())

_LANGUAGE = re.compile(r"(?:^|[\\/])([a-z]{2}-[a-z]{2})(?=[\\/])")
_KIROSHI = re.compile(r"<(kiroshi|mothertongue)\b([^<>]{0,4000}?)/?>")
_ATTRIBUTE = re.compile(r'\b(\w{1,20})\s{0,3}=\s{0,3}"([^"]*)"')
_LOC_KEY = re.compile(r"LocKey#(\d{1,20})\Z")
_KEY_LIKE = re.compile(r"[A-Za-z0-9]+(?:[_.\-][A-Za-z0-9]+)+\Z")
_VOICE_FILE = re.compile(r"([A-Za-z0-9]\w{0,150})_[fmi]_([0-9a-fA-F]{16})\.wem\b")
_SCENE_TOKEN = re.compile(r"(?:[a-z]{1,4}\d{2,}[a-z0-9]*|ep1|sts|mws|generic|vset)\Z")


def load(file: DumpFile) -> Any:
    """The document without the keys nobody reads."""
    return parse_json(file, limit=MAX_BYTES, keep=_KEPT)


def type_of(node: dict[str, Any]) -> str:
    """The type a node states, in either shape; "" when it states none."""
    found = node.get("$type", node.get("Type"))
    return found if isinstance(found, str) else ""


def properties(node: object) -> dict[str, Any]:
    """The values of a node: those of its `Properties` in the old shape, of its `Data` where it is a handle."""
    for _ in range(6):
        if not isinstance(node, dict):
            return {}
        if isinstance(node.get("Properties"), dict):
            node = node["Properties"]
        elif isinstance(node.get("Data"), dict) and ("HandleId" in node or len(node) == 1):
            node = node["Data"]
        else:
            return node
    return {}


def walk(root: object, types: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(type, values) of every node of one of `types`, in document order and without recursion."""
    stack: list[tuple[object, int]] = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > _MAX_DEPTH:
            continue
        children: list[object] = []
        if isinstance(node, dict):
            kind = type_of(node)
            if kind in types:
                yield kind, properties(node)
                continue
            children = list(node.values())
        elif isinstance(node, list):
            children = node
        stack.extend((child, depth + 1) for child in reversed(children) if isinstance(child, (dict, list)))


def loc_value(value: object) -> str:
    """The text inside a LocalizationString, a CName or a plain string, whatever is wrapped around it."""
    for _ in range(6):
        if isinstance(value, str):
            return "" if value == "None" else value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, dict):
            return ""
        node = properties(value)
        value = next((node[key] for key in ("value", "$value", "Value", "DepotPath", "val") if key in node), None)
    return ""


def variant(node: dict[str, Any]) -> str:
    """The text of an entry: the one for a female V, which is also the one for both, else the male one."""
    return loc_value(node.get("femaleVariant")) or loc_value(node.get("maleVariant"))


def shown(text: str) -> str:
    """What the game shows of a text: translations for implants instead of the foreign words, no markup."""
    if "<" in text:
        text = _KIROSHI.sub(_translated, text)
        text = plain_markup(text)
    return text.replace("\\n", " ").replace("\\r", " ").replace('\\"', '"')


def _translated(found: re.Match[str]) -> str:
    parts = dict(_ATTRIBUTE.findall(found.group(2)))
    middle = parts.get("t", "") if found.group(1) == "kiroshi" else parts.get("m", "")
    return f"{parts.get('b', '')}{middle}{parts.get('a', '')}"


def language(file: DumpFile, root: object) -> str | None:
    """The language a localisation file states by its place in the game's archive, such as "en-us"."""
    header = root.get("Header") if isinstance(root, dict) else None
    stated = header.get("ArchiveFileName") if isinstance(header, dict) else None
    for path in (stated if isinstance(stated, str) else "", file.name):
        found = _LANGUAGE.findall(path[-400:].casefold())
        if found:
            return str(found[-1])
    return None


def onscreen_text(value: str, join: Join) -> str | None:
    """The text behind `LocKey#N` or a mod's own key, or a literal text; None for a key no file resolves."""
    numbered = _LOC_KEY.match(value)
    key = numbered.group(1) if numbered else value
    found = join.table("wolvenkit.onscreens").get(key)
    if isinstance(found, str):
        return shown(found)
    if numbered:
        return None
    separators = re.sub(r"[A-Za-z0-9]", "", value) if _KEY_LIKE.match(value) else ""
    return None if "_" in separators or len(separators) > 2 else shown(value)


def voice_of(path: str) -> tuple[str, str] | None:
    """(string id, speaker) that the name of a voice file states: speaker_scene_f_16 hex digits.wem."""
    found = _VOICE_FILE.search(path[-300:])
    if found is None:
        return None
    tokens = found.group(1).split("_")
    cut = next((n for n, token in enumerate(tokens) if n and _SCENE_TOKEN.match(token.casefold())), None)
    if cut is None:
        cut = max(1, len(tokens) - 1)
    return number_text(int(found.group(2), 16)), "_".join(tokens[:cut])
