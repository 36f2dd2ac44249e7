"""Ink source (.ink), as inkle's language has it. Compiled stories are in `ink_json`.

Ink has no speakers. Prose is narration; a name is taken only from a tag such as `# speaker: Mara`, or
from `Name: text` where a whole story keeps to that style. Nothing is run: of alternatives inside a
sentence the first that has words stands for all, and of those that are whole sentences each is a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from modkit.persona.lines import Line
from modkit.persona.readers.documents import plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

__all__ = ["house_names", "speaker_tag", "split_name"]

_MAX_BYTES = 32 * 1024 * 1024
_MAX_BRACES = 20  # of logic inside logic on one line
_MAX_LINE = 20_000
_REMAINS = ("", ".", ",", ";", ":", '"')  # of a sentence put together over several lines

_KNOT = re.compile(r"={2,}\s*(function\s+)?(\w+)")
_STITCH = re.compile(r"=\s*(\w+)")
_LOGIC = re.compile(r"(?:VAR|CONST|LIST|INCLUDE|EXTERNAL)\b|~|TODO\s*:")
_BULLETS = re.compile(r"(?:[*+]\s*)+|(?:-(?!>)\s*)+")
_LABEL = re.compile(r"\(\s*\w+\s*\)\s*")
_CONDITION = re.compile(r"\{[^{}|]{1,400}\}\s*")
_BRANCH = re.compile(r"(?:else|[^:\"“”{}]{1,200}):(?!:)\s*")
_BLOCK = re.compile(r"([^:{}|\"“”]{0,300}):")
_SEQUENCE = re.compile(r"\s*(?:stopping|cycle|once|shuffle)\b")
_DIVERT = re.compile(r"(?:->->|->|<-)\s*[\w.]*(?:\([^()]*\))?\s*")
_TAG = re.compile(r"(?<!\\)#([^#\n]*)")
_SPEAKER_TAG = re.compile(r"\s*(?:speaker|character|char|who|voice|name)\s*[:=]\s*(.{1,80}?)\s*$", re.IGNORECASE)
_NAMED = re.compile(r"((?:[A-Z][\w.'’-]*)(?: [A-Z0-9][\w.'’-]*){0,3}):\s+(?=\S)")
_COMMENTS = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)

_MARKS = (
    (re.compile(r"(?m)^[ \t]*={2,}[ \t]*(?:function[ \t]+)?\w+"), 0.4),
    (re.compile(r"(?m)^[ \t]*(?:VAR|CONST|LIST)[ \t]+\w+[ \t]*=|^INCLUDE [^\n]+\.ink"), 0.4),
    (re.compile(r"(?m)->[ \t]*(?:->)?[ \t]*[A-Za-z_][\w.]*[ \t]*$"), 0.4),
    (re.compile(r"(?m)^[ \t]*[*+][ \t*+]*(?:\([a-z_]\w*\)|\{|\[|\")"), 0.2),
    (re.compile(r"(?m)^[ \t]*~[ \t]*(?:temp[ \t]+)?\w+[ \t]*(?:=|\(|\+\+|--)"), 0.3),
)


def _sniff(file: DumpFile) -> float:
    score = sum(weight for pattern, weight in _MARKS if pattern.search(file.head))
    if file.suffix == ".ink":
        return max(0.5, min(score, 0.9))
    return 0.85 if score >= 0.75 else 0.0


def speaker_tag(tag: str) -> str | None:
    """The name in a tag such as "speaker: Mara"."""
    found = _SPEAKER_TAG.match(tag[:200])
    return found.group(1) if found else None


def house_names(texts: list[str]) -> set[str]:
    """The names of a story that writes `Name: text` throughout; empty where a colon is only a colon."""
    found = Counter(match.group(1) for text in texts if (match := _NAMED.match(text)))
    if sum(found.values()) * 4 < len(texts):
        return set()
    return {name for name, times in found.items() if times > 1}


def split_name(text: str, names: set[str]) -> tuple[str | None, str]:
    """(name, words) of a line in the house style; (None, text) of any other."""
    found = _NAMED.match(text)
    if found and found.group(1) in names:
        return found.group(1), text[found.end() :]
    return None, text


@dataclass(slots=True)
class _Piece:
    number: int
    text: str
    kind: str
    scene: str | None
    speaker: str | None


@reader("ink", "Ink script", sniff=_sniff, extensions=(".ink",))
def read_ink(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every line of content, and every choice."""
    pieces = list(_Script(file.text(_MAX_BYTES)).pieces())
    names = house_names([piece.text for piece in pieces if piece.kind != "choice"])
    for piece in pieces:
        name, text = split_name(piece.text, names)
        speaker = piece.speaker or name
        kind = "dialogue" if speaker and piece.kind == "narration" else piece.kind
        yield file.line(piece.number, text, speaker, kind, scene=piece.scene)


class _Script:
    """One pass over a script, line by line."""

    def __init__(self, text: str) -> None:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        # A comment keeps its line breaks, so that places stay true.
        self._lines = _COMMENTS.sub(lambda found: "\n" * found.group(0).count("\n"), text).split("\n")
        self._knot: str | None = None
        self._scene: str | None = None
        self._in_function = False
        self._blocks: list[bool] = []  # open multi-line logic: True where its branches carry conditions

    def pieces(self) -> Iterator[_Piece]:
        for number, raw in enumerate(self._lines, 1):
            text = raw.strip()[:_MAX_LINE]
            if not text or _LOGIC.match(text):
                continue
            if knot := _KNOT.match(text):
                self._knot = self._scene = knot.group(2)
                self._in_function = bool(knot.group(1))
                self._blocks.clear()
            elif (stitch := _STITCH.match(text)) and not self._blocks:
                self._scene = f"{self._knot}.{stitch.group(1)}" if self._knot else stitch.group(1)
                self._in_function = False
            elif not self._in_function:
                yield from self._content(number, text)

    def _content(self, number: int, text: str) -> Iterator[_Piece]:
        tags = [tag.strip() for tag in _TAG.findall(text)]
        speaker = next((name for tag in tags if (name := speaker_tag(tag))), None)
        text = _TAG.sub("", text).replace("\\#", "#").strip()
        choice = False
        if self._blocks and text.startswith("-") and not text.startswith("->"):
            text = text[1:].lstrip()
            if self._blocks[-1] and (branch := _BRANCH.match(text)):
                text = text[branch.end() :]
        if bullets := _BULLETS.match(text):
            choice = bullets.group(0)[0] in "*+"
            text = text[bullets.end() :]
            if label := _LABEL.match(text):
                text = text[label.end() :]
        while choice and (condition := _CONDITION.match(text)):
            text = text[condition.end() :]
        text = self._open_and_close(text)
        for kind, words in self._parts(text, choice):
            for shown in _shown(words):
                if shown.strip() in _REMAINS:
                    continue
                yield _Piece(number, shown, kind, self._scene, speaker)

    def _parts(self, text: str, choice: bool) -> Iterator[tuple[str, str]]:
        if not choice:
            yield "narration", text
            return
        before, bracket, rest = text.partition("[")
        inside, _, after = rest.partition("]")
        yield "choice", before + inside
        if bracket and _DIVERT.sub("", after).strip():
            yield "narration", before + after  # what is said once it is chosen, where the words differ

    def _open_and_close(self, text: str) -> str:
        """`text` without the braces of logic over several lines, which are kept count of."""
        if "{" not in text and "}" not in text:
            return text
        opened: list[int] = []
        closing: list[int] = []
        for at, char in enumerate(text):
            if char == "{":
                opened.append(at)
            elif char == "}":
                if opened:
                    opened.pop()
                else:
                    closing.append(at)
        if not opened and not closing:
            return text
        for _ in closing:
            if self._blocks:
                self._blocks.pop()
        kept = text[closing[-1] + 1 :] if closing else text
        shift = len(text) - len(kept)
        head = text[: closing[0]] if closing else ""
        if not opened:
            return f"{head} {kept}"
        first = opened[0] - shift
        inside = kept[first + 1 :]
        block = _BLOCK.match(inside)
        self._blocks.extend([True] * (len(opened) - 1) if len(opened) < 100 else [])
        self._blocks.append(not (block and _SEQUENCE.match(block.group(1))))
        body = inside[block.end() :] if block else ""
        return (
            f"{head} {kept[:first]} {body}".replace("{", " ").strip()
            if len(opened) > 1
            else (f"{head} {kept[:first]} {body}")
        )


def _shown(text: str) -> list[str]:
    """What a player may read of a line: one text, or several where it is nothing but alternatives."""
    text = _DIVERT.sub(" ", text).replace("<>", " ")
    bare = text.strip()
    if bare.startswith("{") and bare.endswith("}") and _one_group(bare):
        alternatives = [plain_markup(_inline(part).strip()) for part in _alternatives(bare[1:-1])]
        if len(alternatives) > 1:
            return [part for part in alternatives if part]
    return [plain_markup(_inline(text).replace("\\", ""))]


def _one_group(text: str) -> bool:
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return at == len(text) - 1
    return False


def _inline(text: str, depth: int = 0) -> str:
    """`text` with its inline logic: `{name}` stays visible, of alternatives the first with words."""
    out: list[str] = []
    at = 0
    while (start := text.find("{", at)) >= 0:
        end = _closing(text, start)
        if end < 0 or depth >= _MAX_BRACES:  # what follows is damage, or a joke
            return "".join(out) + text[at:].replace("{", "")
        out.append(text[at:start])
        inside = text[start + 1 : end]
        parts = _alternatives(inside)
        if len(parts) == 1 and parts[0] == inside:
            out.append(f"{{{inside.strip()}}}")  # a value that the game fills in
        else:
            out.append(next((shown for part in parts if (shown := _inline(part, depth + 1)).strip()), ""))
        at = end + 1
    out.append(text[at:])
    return "".join(out)


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    return -1


def _alternatives(inside: str) -> list[str]:
    """The branches of `{cond: a|b}` or `{a|b}`; the whole of it for a value."""
    text = inside
    if text[:1] in ("&", "!", "~", "$") and "|" in text:
        text = text[1:]
    elif (block := _BLOCK.match(text)) and not text[block.end() :].startswith(":"):
        text = text[block.end() :]
        return _split(text) if text.strip() else [""]
    return _split(text)


def _split(text: str) -> list[str]:
    parts: list[str] = []
    depth = start = 0
    for at, char in enumerate(text):
        if char == "|" and depth == 0 and text[at - 1 : at] != "|" and text[at + 1 : at + 2] != "|":
            parts.append(text[start:at])
            start = at + 1
        depth += (char == "{") - (char == "}")
    return [*parts, text[start:]]
