"""Wesnoth WML (.cfg): messages, options, story parts.

A message says who speaks by a unit's id, and the unit's name may stand in any file of the set. Roles
such as `unit` and `narrator`, and messages that choose their speaker by a filter, name nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from modkit.persona.lines import Line
from modkit.persona.readers.documents import plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_MAX_BYTES = 32 * 1024 * 1024
_MAX_DEPTH = 100

_TAG = re.compile(r"(?m)^[ \t]*\[(?:scenario|message|event|campaign|multiplayer|unit|story)\]")
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"]|"")*"?)|(?P<raw><<(?:[^>]|>(?!>))*(?:>>)?)|(?P<comment>#[^\n]*)|\[(?P<tag>[+/]?\w+)\]'
    r"|(?P<newline>\n)|(?P<open>\{)|(?P<close>\})|(?P<equals>=)|(?P<plus>\+)|(?P<word>[^\s\"#\[\]{}=+<]+|[\[\]<])"
)
_CONTEXT = re.compile(r"[\w][\w -]{0,60}\^")
_ACT = re.compile(r"\([^()]*\)$|\*[^*]*\*$")
_ROLES = {"unit", "second_unit", "narrator", "", "$unit.id", "$second_unit.id"}
_UNITS = {"unit", "side", "leader", "hero", "modify_unit", "recall"}


@dataclass(slots=True)
class _Tag:
    name: str
    line: int
    keys: dict[str, str] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    event: str | None = None


def _sniff(file: DumpFile) -> float:
    return 0.92 if _TAG.search(file.head) and re.search(r"(?m)^[ \t]*\[/\w+\]", file.head) else 0.0


def _tags(file: DumpFile) -> Iterator[_Tag]:
    """Every tag where it is closed, inner ones first; a macro's body counts as if it stood there."""
    stack: list[_Tag] = []
    for what, line, name, value in _events(file.text(_MAX_BYTES)):
        if what == "key":
            if stack and (name not in stack[-1].keys or not stack[-1].keys[name]):
                stack[-1].keys[name] = value
                stack[-1].places[name] = line
        elif name.startswith("/"):
            depth = next((at for at in range(len(stack) - 1, -1, -1) if stack[at].name == name[1:]), -1)
            if depth >= 0:  # what was never closed inside ends here as well
                while len(stack) > depth:
                    yield stack.pop()
        elif len(stack) < _MAX_DEPTH:
            event = stack[-1].event if stack else None
            if stack and stack[-1].name == "event":
                event = stack[-1].keys.get("name", event)
            stack.append(_Tag(name.lstrip("+"), line, event=event))
    while stack:
        yield stack.pop()


def _events(text: str) -> Iterator[tuple[str, int, str, str]]:
    """("tag", line, name, "") and ("key", line, name, value) in order."""
    line = 1
    depth = 0  # of macro braces
    words: list[str] = []  # of the line so far, before an equals sign
    key: str | None = None
    key_line = 0
    value: list[str] = []
    quoted = joined = False
    for token in _TOKEN.finditer(text.replace("\r\n", "\n").replace("\r", "\n")):
        kind, found = token.lastgroup, token.group(token.lastgroup or 0)
        if kind == "newline":
            line += 1
            if joined or (depth and key is not None and line - key_line < 50):
                continue
            if key is not None:
                yield "key", key_line, key, ("" if quoted else " ").join(value).strip()
            words, key, value, quoted, depth = [], None, [], False, 0
            continue
        if kind == "comment":
            continue
        if kind == "plus" and key is not None:
            joined = True
            continue
        joined = False
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "tag" and key is None:
            yield "tag", line, found, ""
            words = []
        elif kind == "equals" and key is None:
            key, key_line = "".join(words).strip(), line
        elif kind in ("string", "raw"):
            if key is not None:
                if not quoted:  # what stands before a string is a sign or a macro's name
                    value, quoted = [], True
                value.append(found[1:].removesuffix('"').replace('""', '"') if kind == "string" else found[2:-2])
            line += found.count("\n")
        elif key is None:
            words.append(found)
        elif not quoted:
            value.append(found if kind != "tag" else f"[{found}]")
    if key is not None:
        yield "key", key_line, key, ("" if quoted else " ").join(value).strip()


def _shown(text: str) -> str:
    found = _CONTEXT.match(text)  # "female^Hello": for translators
    return plain_markup(text[found.end() :] if found else text)


def _scan(file: DumpFile, join: Join) -> None:
    names = join.table("wesnoth.names")
    for tag in _tags(file):
        if tag.name in _UNITS and tag.keys.get("id") and tag.keys.get("name"):
            names.setdefault(tag.keys["id"], _shown(tag.keys["name"]))


@reader("wesnoth", "Wesnoth WML", sniff=_sniff, extensions=(".cfg",), scan=_scan)
def read_wesnoth(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every message, its options as choices, and the story's parts as narration."""
    names = join.table("wesnoth.names")
    spoken: list[tuple[int, str, str | None, str, str | None]] = []
    for tag in _tags(file):
        if tag.name == "message":
            speaker = tag.keys.get("speaker")
            known = (
                None if speaker is None or speaker in _ROLES or speaker.startswith("$") else names.get(speaker, speaker)
            )
            kind = "narration" if speaker == "narrator" else "dialogue"
            name = known if isinstance(known, str) else None
            spoken.append((tag.places.get("message", tag.line), tag.keys.get("message", ""), name, kind, tag.event))
        elif tag.name == "option":
            for key in ("message", "label", "description"):
                if tag.keys.get(key):
                    spoken.append((tag.places[key], tag.keys[key], None, "choice", tag.event))
                    break
        elif tag.name == "part" and tag.keys.get("story"):
            spoken.append((tag.places["story"], tag.keys["story"], None, "narration", tag.event))
    for number, text, speaker, kind, scene in sorted(spoken, key=lambda each: each[0]):  # tags close inside out
        shown = _shown(text).strip()
        if kind == "dialogue" and _ACT.match(shown):  # "(coughs)"
            speaker, kind = None, "direction"
        yield file.line(number, shown, speaker, kind, scene=scene)
