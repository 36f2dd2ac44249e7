"""Transcripts: `Name: text`, `**Name** (mood): text`, scene headings, stage directions, screenplays.

A name is taken for one only where it looks like a name: capitalised, short, without a sentence's
punctuation. Paragraphs without one are narration, and nobody is said to have spoken them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from modkit.persona.lines import Line, normalise_kind, tidy
from modkit.persona.readers.known import signature
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

# Every pattern is anchored and walks a line once: a hostile line costs what it is long.
_STAMP = re.compile(r"[\[(]?\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?[\])]?\s+(?=\S)")
_BULLET = re.compile(r"(?:[-*+>]|\d{1,4}[.)])\s+(?=\S)")
_MOOD = re.compile(r"\s*[(\[]([^()\[\]]{0,80})[)\]]\s*$")
_HEADING = re.compile(r"(#{1,6}|={1,6}|-{2,6}|~{1,6}|\*{3,6})\s*([^\s#=~*-].{0,160}?)\s*[#=~*-]*$")
_SLUG = re.compile(r"(?:INT|EXT|EST|INT/EXT)[. /].{1,120}$")
_TAGGED = re.compile(
    r"(?:scene|location|setting|chapter|act|episode|quest|conversation|place)\b\s*[:\d#]", re.IGNORECASE
)
_DIRECTION = re.compile(r"(?:\([^()]*\)|\[[^\[\]]*\]|\*[^*]+\*|_[^_]+_)[.]?$")
_LEADING_DIRECTION = re.compile(r"(?:\(([^()]{1,200})\)|\*([^*]{1,200})\*|\[([^\[\]]{1,200})\])\s*")
_EMPHASIS = re.compile(r"(\*{1,3}|__)(?=\S)([^*_\n]{1,300}?)(?<=\S)\1")
_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "‘": "’"}

_EXTENSIONS = (".txt", ".md", ".log", ".text", "")
# "key: value" of these is not speech.
_SETTINGS = {
    ".yaml", ".yml", ".toml", ".ini", ".cfg", ".properties", ".xl", ".tscn", ".tres", ".import", ".testplan", ".vdf",
    ".res", ".vmt", ".asset", ".meta", ".prefab", ".unity", ".lock", ".css", ".scss", ".less", ".js", ".ts", ".py",
    ".gd", ".cs", ".lua", ".java", ".c", ".cpp", ".h", ".hpp", ".rs", ".go", ".sh", ".bat", ".ps1",
}  # fmt: skip
# What lies beside every program; a talk is in it only where hardly anything else is.
_PAPERS = {
    "authors", "changelog", "changes", "cmakelists", "contributing", "copying", "credits", "install", "licence",
    "license", "makefile", "news", "notice", "pkg-info", "readme", "requirements", "security", "todo",
}  # fmt: skip
_TALK_FENCES = ("", "text", "txt", "dialogue", "dialog", "transcript", "chat", "none")
_SNIFFED = 16_000  # characters; enough to know the layout
_TIMING = re.compile(r"\d+$|[\d:.,]+ --> [\d:.,]+")  # of subtitles
_WRAPPED = 60  # characters: a line at least this long may go on in the next one
_PARTICLES = {"of", "the", "de", "van", "von", "der", "la", "le", "du", "da", "di", "al", "el", "and", "y", "und", "et"}
# Words before a colon that say something about the text rather than who speaks it.
_NOT_NAMES = {
    "note", "notes", "todo", "warning", "date", "time", "author", "version", "source", "title", "summary", "http",
    "https", "file", "tags", "ps", "p.s", "example", "answer", "question", "writer", "translation", "speaker", "text",
    "name", "id", "kind", "type", "key", "value", "description", "lang", "language", "line", "licence", "license",
}  # fmt: skip


@dataclass
class _State:
    scene: str | None = None
    kind: str = "dialogue"
    speaker: str | None = None  # of the utterance that is open
    addressee: str | None = None
    place: int = 0
    width: int = 0  # of its last physical line
    parts: list[str] = field(default_factory=list)


def _name(text: str) -> str | None:
    """`text` when it looks like somebody's name, else None."""
    text = text.strip().strip("*_").strip()
    if not text or len(text) > 40 or not (text[0].isalpha() or text[0].isdigit()):
        return None
    words = text.split()
    if len(words) > 5 or text.casefold() in _NOT_NAMES:
        return None
    if not all(c.isalnum() or c in " '’.-_&#/" for c in text) or not any(c.isalpha() for c in text):
        return None
    if len(words) == 1:
        return text
    capital = [w for w in words if not w[0].islower()]
    return text if words[0] in capital and all(w in capital or w in _PARTICLES for w in words) else None


def _split(line: str) -> tuple[str, str | None, str] | None:
    """(name, addressee, text) of a `Name: text` line, in any of its dresses; None when it is none."""
    stamp = _STAMP.match(line)
    rest = line[stamp.end() :] if stamp else line
    bullet = _BULLET.match(rest)
    rest = rest[bullet.end() :] if bullet else rest
    if rest.startswith("<") and 1 < (end := rest.find(">")) <= 41:  # <Name> text, as chats log it
        name = _name(rest[1:end])
        return (name, None, rest[end + 1 :].strip()) if name else None
    colon = min((i for i in (rest.find(":", 0, 140), rest.find("：", 0, 140)) if i > 0), default=-1)
    if colon < 0 or rest.startswith("//", colon + 1):
        return None
    head, text = rest[:colon], rest[colon + 1 :]
    if text.startswith(("**", "__")):  # **Name:** text
        text = text[2:]
    mood = _MOOD.search(head[-90:])
    addressee = None
    if mood:
        inside = mood.group(1).strip().strip("*_")
        addressee = _name(inside[3:]) if inside.casefold().startswith("to ") else None
        head = head[: len(head) - len(mood.group(0))]
    dressed = mood or head.startswith(("*", "_"))
    if text and not dressed and rest[colon] == ":" and (text[0].isalnum() or text[0] in "/\\-()"):
        return None  # 12:30, C:\, a:b, :)
    name = _name(head)
    if name is None or (bullet and name[0].islower()):  # "- key: value" is a list
        return None
    return name, addressee, text.strip()


def _heading(line: str) -> str | None:
    if len(line) > 200:
        return None
    found = _HEADING.match(line)
    if found:
        return found.group(2).strip().strip("*").strip()
    if _SLUG.match(line):
        return line.strip()
    if _TAGGED.match(line) and len(line) < 120:
        return line.partition(":")[2].strip() or line.strip()
    return None


def _spoken(text: str) -> str:
    """The words alone: leading directions, emphasis marks and the quotes around the whole are taken off."""
    while found := _LEADING_DIRECTION.match(text):
        starred = found.group(2)
        if starred and not (starred[0].islower() and text[found.end() : found.end() + 1].isupper()):
            break  # *Never* do that: emphasis, not a stage direction
        text = text[found.end() :]
    text = _EMPHASIS.sub(r"\2", text).strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1] and text[-1] not in text[1:-1]:
        text = text[1:-1]
    return text


def _screenplay_names(head: str) -> set[str]:
    """Names that stand alone in capitals above their words, when one of them does so twice in the head of a file."""
    counts: dict[str, int] = {}
    lines = head.splitlines()
    for line, following in pairwise(lines):
        text, said = _MOOD.sub("", line.strip()[:60]).strip(), following.strip()
        speech = " " in said or said.endswith((".", "!", "?", "…", ")", "]"))
        if text.isupper() and speech and _name(text) and not text.endswith((".", "!", "?")):
            counts[text] = counts.get(text, 0) + 1
    # One that comes back shows that this is the layout of the file; then the others are names too.
    return set(counts) if any(count >= 2 for count in counts.values()) else set()


def _regular_names(head: str) -> set[str]:
    """Names written in small letters that come back; once is a sentence such as "remember: ..."."""
    counts: dict[str, int] = {}
    for line in head.splitlines():
        found = _split(line.strip()[:400])
        if found and found[0][0].islower():
            counts[found[0]] = counts.get(found[0], 0) + 1
    return {name for name, count in counts.items() if count >= 2}


def _is_code(line: str) -> bool:
    """Whether this line of Markdown begins a block that says it is code; one of plain text may well be a talk."""
    fence = line.strip()
    return fence.startswith(("```", "~~~")) and fence.strip("`~ ").casefold() not in _TALK_FENCES


def _without_code(lines: Iterable[str]) -> Iterator[str]:
    fence = ""
    for line in lines:
        if fence:
            fence = "" if line.strip() == fence else fence
        elif _is_code(line):
            fence = line.strip()[:3]
        else:
            yield line


def _sniff(file: DumpFile) -> float:
    start = file.head.lstrip()[:1]
    markup = start == "{" or (start == "<" and "</" in file.head)  # "<mara> hi" is a chat, "<p>hi</p>" is not
    if markup or file.suffix in _SETTINGS or signature(file):
        return 0.0
    lines = [line.strip()[:400] for line in _without_code(file.head[:_SNIFFED].splitlines()) if line.strip()]
    if sum(line.endswith((";", "{", "}")) for line in lines) > 0.2 * len(lines):
        return 0.0  # a program or a style sheet
    pairs = [(line, split) for line in lines if _heading(line) is None and (split := _split(line))]
    after = dict(pairwise(lines))
    # "Fixed:" above a list of points is a heading.
    found = [split[0] for line, split in pairs if split[2] or not after.get(line, "").startswith(("* ", "- "))]
    counts = Counter(found)  # once in small letters is a sentence such as "remember: ..."
    found = [name for name in found if not name[0].islower() or counts[name] >= 2]
    share = len(found) / max(1, len(lines))
    typed = file.suffix in _EXTENSIONS and file.path.stem.casefold() not in _PAPERS
    # In a talk the names come back; where each is new, it is a list of settings or of headings.
    few = len(found) <= 6 if share >= 0.3 else len(set(found)) == 1
    talk = few or len(set(found)) <= 0.7 * len(found)
    if talk and ((len(found) >= 2 and share >= (0.1 if typed else 0.5)) or (share >= 0.3 and typed)):
        return 0.35 + 0.2 * share
    return 0.35 if typed and _screenplay_names(file.head) else 0.0


@reader("transcript", "Name: text transcript", sniff=_sniff, extensions=_EXTENSIONS)
def read_transcript(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every utterance, direction and paragraph, in order."""
    caps, small = _screenplay_names(file.head), _regular_names(file.head)
    state = _State()

    def close() -> Line | None:
        """End the open utterance or paragraph."""
        text = tidy(" ".join(state.parts))
        line = None
        if text and state.speaker:
            line = file.line(
                state.place, _spoken(text), state.speaker, state.kind, scene=state.scene, addressee=state.addressee
            )
        elif text:
            kind = "narration" if state.kind == "dialogue" else state.kind
            line = file.line(state.place, _spoken(text), None, kind, scene=state.scene)
        state.parts, state.speaker, state.addressee, state.width = [], None, None, 0
        return line

    fence = ""
    for number, raw in file.lines():
        line = raw.strip()
        if fence or _is_code(line):
            fence = "" if fence and line == fence else fence or line[:3]
            continue
        if line.startswith(("```", "~~~")):
            continue
        bare = _MOOD.sub("", line[:60]).strip()
        heading = _heading(line)
        found = _split(line) if heading is None else None
        if found and found[0][0].islower() and found[0] not in small:
            found = None
        if not line or set(line) <= set("-=*_~ ") or _TIMING.match(line):
            yield close()
        elif heading is not None:
            yield close()
            state.scene, state.kind = heading, _section_kind(heading)
        elif found or (bare in caps and len(line) < 60):
            yield close()
            state.speaker, state.addressee, text = found or (bare, None, "")
            state.place, state.parts, state.width = number, [text] if text else [], len(line)
        elif _DIRECTION.match(line):
            if state.speaker and not state.parts:
                continue  # (quietly), between a screenplay's name and her words
            yield close()
            yield file.line(number, line.rstrip(".").strip("()[]*_"), kind="direction", scene=state.scene)
        else:
            # A line goes on with the one above it where that one was full, or where it is set in under it.
            if state.speaker and state.parts and state.width < _WRAPPED and raw[:1] not in " \t":
                yield close()
            if not state.parts and not state.speaker:
                state.place = number
            if len(state.parts) < 2000:
                state.parts.append(line)
            state.width = len(line)
    yield close()


def _section_kind(heading: str) -> str:
    """What is below a heading such as "Sable's journal" or "Messages"; dialogue where it says nothing."""
    for word in heading.casefold().split():
        kind = normalise_kind(word)
        if kind in ("journal", "message"):
            return kind
    return "dialogue"
