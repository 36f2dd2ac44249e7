"""Godot Dialogue Manager scripts (.dialogue), and Dialogic timelines' lines where they look the same.

`Name: text` is a line, `- text` a response of the player's, everything that jumps, asks or does is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_TITLE = re.compile(r"~\s*([\w/. -]{1,100}?)\s*$")
_TITLES = re.compile(r"(?m)^~ ?\w[\w/]*[ \t]*$")
_JUMP = re.compile(r"(?m)^[ \t]*(?:-[^\n]*)?=><? ?\w")
_NAMED = re.compile(r"(?m)^[ \t]*[^\s:#~=>\[\]-][^:\n]{0,60}: ")
_CODE = re.compile(
    r"(?:if|elif|else|endif|while|for|match|when|do!?|set|using|import|return)\b(?!:)"
    r"|=>|\$>|#|~|\[(?:do|set|if)[ !][^\]]*\]$|@"
)
_WEIGHT = re.compile(r"%\d*(?:\.\d+)?(?:\s*\[[^\[\]]*\])?\s+")
_NAME = re.compile(r"((?:[^:\[\]\"\\]|\\.){1,80}?):(?=\s|$)\s*")
_ID = re.compile(r"\[ID:\s*([^\[\]]{1,100})\]")
_ARROW = re.compile(r"\s*=><?\s*[\w/!{} .]*$")
_RANDOM = re.compile(r"\[\[([^\[\]|]{0,500})(?:\|[^\[\]]{0,2000})?\]\]")
_IF = re.compile(r"\[if\s[^\[\]]{0,300}?/\]|\[/?(?:if|else|endif)\b[^\[\]]{0,300}\]")
_TAG = re.compile(r"\[(?:#[^\[\]]{0,200}|/?[a-zA-Z_][^\[\]]{0,200})\]")
_CONTINUED = 50  # lines


def _sniff(file: DumpFile) -> float:
    head = file.head
    if file.suffix in (".tscn", ".tres"):  # a scene that has a script in one of its texts
        return 0.0
    if not _TITLES.search(head):
        return 0.35 if file.suffix == ".dialogue" and _NAMED.search(head) else 0.0
    return 0.9 if _JUMP.search(head) or (file.suffix == ".dialogue" and _NAMED.search(head)) else 0.0


@reader("godot-dialogue", "Godot Dialogue Manager script", sniff=_sniff, extensions=(".dialogue",))
def read_godot_dialogue(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every line and every response."""
    scene: str | None = None
    pending: tuple[int, int, str] | None = None  # (place, indent, name): its words are set in below it
    parts: list[str] = []
    for number, raw in file.lines():
        text = raw.strip()[:20_000]
        indent = len(raw) - len(raw.lstrip())
        if pending is not None:
            if text and indent > pending[1] and not _CODE.match(text) and len(parts) < _CONTINUED:
                parts.append(text)
                continue
            yield _line(file, pending[0], f"{pending[2]}: {' '.join(parts)}", "dialogue", scene)
            pending, parts = None, []
        if not text:
            continue
        if title := _TITLE.match(text):
            scene = title.group(1)
        elif re.match(r"-\s", text):
            yield _line(file, number, text[1:].lstrip(), "choice", scene)
        elif not _CODE.match(text):
            text = _WEIGHT.sub("", text.removeprefix("| "), count=1) if text[0] in "%|" else text
            found = _NAME.match(text)
            if found and not text[found.end() :]:
                pending = (number, indent, found.group(1))
            else:
                yield _line(file, number, text, "dialogue", scene)
    if pending is not None:
        yield _line(file, pending[0], f"{pending[2]}: {' '.join(parts)}", "dialogue", scene)


def _line(file: DumpFile, number: int, text: str, kind: str, scene: str | None) -> Line | None:
    identifier = _ID.search(text)
    text = _ARROW.sub("", _ID.sub("", text))
    speaker: str | None = None
    if found := _NAME.match(text):
        speaker, text = found.group(1).replace("\\", "").strip(), text[found.end() :]
    text = _TAG.sub("", _IF.sub(" ", _RANDOM.sub(r"\1", text)))
    text = text.replace("\\n", " ").replace("\\:", ":").replace("\\", "")
    if kind == "dialogue" and speaker is None:
        kind = "narration"
    return file.line(number, text, speaker, kind, scene=scene, id=identifier.group(1) if identifier else None)
