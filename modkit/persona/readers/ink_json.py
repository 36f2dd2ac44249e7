"""Compiled Ink stories (JSON with an `inkVersion`).

The tree of containers is walked in authored order and nothing is run: text is what begins with "^", a
choice is the string put together before its choice point, and of inline alternatives the first that has
words stands for all. Speakers are found as in `ink`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import parse_json, plain_markup
from modkit.persona.readers.ink import house_names, speaker_tag, split_name
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_MAX_BYTES = 48 * 1024 * 1024
_MAX_DEPTH = 250
_BRANCH = re.compile(r"(?:b|s\d+)$")
_CHOSEN = re.compile(r"c(?:-\d+)?$")
_GATHER = re.compile(r"(?:[cg]-\d+|[a-z#]|\d+|s\d+|global decl)$")
_INK_VERSION = re.compile(r'\A\s*\{\s*"inkVersion"\s*:\s*\d+')
_REMAINS = ("", ".", ",", ";", ":", '"')


def _sniff(file: DumpFile) -> float:
    return 0.98 if _INK_VERSION.match(file.head) else 0.0


@dataclass(slots=True)
class _Piece:
    text: str
    kind: str
    scene: str | None
    speaker: str | None


@reader("ink-json", "compiled Ink story", sniff=_sniff, extensions=(".json",))
def read_ink_json(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every line of content, and every choice."""
    story = parse_json(file, limit=_MAX_BYTES)
    root = story.get("root") if isinstance(story, dict) else None
    if not isinstance(root, list):
        raise DumpError(f"{file.name} has no story in it: compile it again with inklecate")
    walk = _Walk(file)
    walk.container(root, None, 0)
    walk.out.end_line()
    names = house_names([piece.text for piece in walk.out.pieces if piece.kind != "choice"])
    for number, piece in enumerate(walk.out.pieces, 1):
        name, text = split_name(piece.text, names)
        speaker = piece.speaker or name
        kind = "dialogue" if speaker and piece.kind == "narration" else piece.kind
        yield file.line(f"text {number}", text, speaker, kind, scene=piece.scene)


@dataclass(slots=True)
class _Out:
    """What was said so far, and the line that is being put together."""

    scene: str | None = None
    line: list[str] = field(default_factory=list)
    pieces: list[_Piece] = field(default_factory=list)
    speaker: str | None = None

    def end_line(self) -> None:
        text = " ".join(plain_markup("".join(self.line)).split())
        if text not in _REMAINS:
            self.pieces.append(_Piece(text, "narration", self.scene, self.speaker))
        self.line.clear()
        self.speaker = None

    def choice(self, text: str) -> None:
        text = " ".join(plain_markup(text).split())
        if text:
            self.pieces.append(_Piece(text, "choice", self.scene, None))


class _Walk:
    """One pass over the containers; `_MAX_DEPTH` deep at most, what is deeper is passed over."""

    def __init__(self, file: DumpFile) -> None:
        self._file = file
        self.out = _Out()
        self._strings: list[str] = []  # put together since the last choice point
        self._in_string = False
        self._evaluating = False
        self._in_tag = False
        self._variable = ""
        self._echo: dict[str, str] = {}  # path's last name of a choice's branch: the words it repeats

    def container(self, content: list[object], name: str | None, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self._file.warn("content nested too deeply was passed over")
            return
        named = content[-1] if content and isinstance(content[-1], dict) else {}
        out = self.out
        if name and _CHOSEN.match(name):
            self._begin_chosen(content, self._echo.pop(name, ""))
        said = False  # whether a branch of the logic at hand has given its words
        for item in content[:-1] if content and (content[-1] is None or isinstance(content[-1], dict)) else content:
            if isinstance(item, str):
                self._command(item)
                said = False
            elif isinstance(item, list):
                inner = item[-1] if item and isinstance(item[-1], dict) else {}
                if said and "b" in inner and self._is_inline(inner["b"]):
                    continue
                before = len(out.line)
                self.container(item, None, depth + 1)
                said = "b" in inner and (said or len(out.line) > before)
            elif isinstance(item, dict):
                self._object(item, named, depth)
        self._named(named, depth)

    def _named(self, named: dict[str, object], depth: int) -> None:
        """The named containers of a container: branches of logic, what follows a choice, knots."""
        said = False
        for key, inner in named.items():
            if not isinstance(inner, list) or key == "s" or key == "global decl":
                continue
            if _BRANCH.match(key):
                if said and self._is_inline(inner):
                    continue
                before = len(self.out.line)
                self.container(inner, key, depth + 1)
                said = said or len(self.out.line) > before
                continue
            self.out.end_line()
            scene = self.out.scene
            if depth < 2 and not _GATHER.match(key):  # a knot, or a stitch in it
                self.out.scene = f"{scene}.{key}" if scene and depth else key
            self.container(inner, key, depth + 1)
            self.out.end_line()
            self.out.scene = scene

    @staticmethod
    def _is_inline(branch: object) -> bool:
        """Whether a branch is part of a sentence: it ends no line and offers no choice."""
        return isinstance(branch, list) and not any(item == "\n" or isinstance(item, list) for item in branch)

    def _begin_chosen(self, content: list[object], echo: str) -> None:
        """After a choice its words are said again, where more words follow them on the same line."""
        self.out.end_line()
        if not echo:
            return
        for item in content:
            if item == "\n":
                return
            if isinstance(item, str) and item.startswith("^") and item.strip("^ "):
                self.out.line.append(echo)
                return

    def _object(self, item: dict[str, object], named: dict[str, object], depth: int) -> None:
        point, flags = item.get("*"), item.get("flg")
        if isinstance(point, str):
            flags = flags if isinstance(flags, int) else 4
            start = _plain_start(named.get("s"))
            # The first strings are the choice's own; those of its condition come after them.
            text = "".join(self._strings[: bool(flags & 2) + bool(flags & 4)])
            self._strings.clear()
            if not flags & 8:  # a fallback that nobody sees
                self.out.choice(start + text)
            if start:
                self._echo[point.rsplit(".", 1)[-1]] = start
        elif isinstance(item.get("VAR?"), str):
            self._variable = str(item["VAR?"])
        elif isinstance(item.get("#"), str):
            self.out.speaker = speaker_tag(str(item["#"])) or self.out.speaker
        else:
            self._named({key: value for key, value in item.items() if isinstance(value, list)}, depth)

    def _command(self, item: str) -> None:
        out = self.out
        if item.startswith("^"):
            if self._in_tag:
                out.speaker = speaker_tag(item[1:]) or out.speaker
            elif self._in_string:
                self._add_to_string(item[1:])
            elif not self._evaluating:
                out.line.append(item[1:])
        elif item == "\n":
            if not self._in_string:
                out.end_line()
        elif item in ("ev", "/ev"):
            self._evaluating = item == "ev"
            if self._evaluating:
                self._strings.clear()
        elif item in ("str", "/str"):
            self._in_string = item == "str"
            if self._in_string:
                self._strings.append("")
        elif item in ("#", "/#"):
            self._in_tag = item == "#"
        elif item == "out" and self._variable:
            shown = f"{{{self._variable}}}"  # a value that the game fills in
            if self._in_string:
                self._add_to_string(shown)
            else:
                out.line.append(shown)

    def _add_to_string(self, text: str) -> None:
        if self._strings:
            self._strings[-1] += text


def _plain_start(content: object) -> str:
    """The words that a choice and what follows it have in common."""
    if not isinstance(content, list):
        return ""
    return "".join(item[1:] for item in content if isinstance(item, str) and item.startswith("^"))
