"""Ren'Py scripts (.rpy, and tl/<language>/*.rpy).

Read as Ren'Py reads them, line by line and by indentation, and never run. Characters may be defined
in any file of the set. Python, init, screen, style, transform and image blocks hold no speech.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.rpy_text import (
    Logical,
    call_arguments,
    logical_lines,
    paragraphs,
    shown_text,
    string_at,
    unescape,
)
from modkit.persona.readers.source import DumpFile

_MAX_BYTES = 32 * 1024 * 1024

_CHARACTER = re.compile(
    r"^[ \t]*(?:\$[ \t]*|(?:init[ \t]+-?\d+[ \t]+)?(?:define|default)[ \t]+(?:-?\d+[ \t]+)?)?"
    r"([A-Za-z_]\w{0,80}(?:\.\w{1,80}){0,4})[ \t]*=[ \t]*(?:renpy\.)?"
    r"(\w{0,40}Character)[ \t]*(\()",
    re.MULTILINE,
)
_VALUE = re.compile(
    r"^[ \t]*(?:\$[ \t]*|(?:define|default)[ \t]+)([A-Za-z_]\w{0,80}(?:\.\w{1,80}){0,4})[ \t]*=[ \t]*(?:_\()?(?=[\"'])",
    re.MULTILINE,
)
_STATEMENT = re.compile(r"register_statement\([ \t]*u?[\"']([\w ]{1,60})[\"']")

_WORD = re.compile(r"@|[-@]?[A-Za-z_]\w*(?:\.\w+)*")
_LABEL = re.compile(r"label\s+([\w.]+)")
_TRANSLATE = re.compile(r"translate\s+(\w+)\s+([\w.]+)")
_INIT = re.compile(r"init(?:\s+-?\d+)?(?:\s+|(?=:))")
_MONOLOGUE = re.compile(r"rpy\s+monologue\s+(double|single|none)")
_MENU = re.compile(r"menu\b[^\n]*:$")
_HASHED = re.compile(r"(.+)_[0-9a-f]{8}(?:_\d+)?$")
_ID = re.compile(r"\bid\s+(\w+)")

# Statements whose strings are file names, conditions or texts of the interface: never speech. What can
# only stand inside a screen or an ATL block is not listed, because those are skipped whole.
_STATEMENT_WORDS = """
init python label menu translate screen style transform image layeredimage define default scene show hide play
stop queue voice sound music jump call return if elif else while for pass with window pause camera import from
class def assert print del global try except finally raise rpy nvl set old new testcase renpy and or not in is
lambda yield
"""
_STATEMENTS = frozenset(_STATEMENT_WORDS.split())
_SKIPPED_BLOCKS = re.compile(
    r"(?:python|screen|style|transform|image|layeredimage|testcase|testsuite|camera|show|scene|default|define|class|def)\b"
)
_NARRATORS = frozenset(("narrator", "centered", "vcentered", "adv", "nvl_narrator"))


@dataclass(frozen=True, slots=True)
class _Character:
    name: str | None  # None: a narrator
    kind: str | None = None  # the character it takes its name from when it has none of its own
    named: bool = True


def _literal(source: str) -> str | None:
    """The text of a string argument, also inside `_()`; None when it is not a plain string."""
    source = source.strip()
    while source.startswith(("_(", "__(", "_p(")) and source.endswith(")"):
        source = source[source.index("(") + 1 : -1].strip()
    found = string_at(source, 0)
    return found[0] if found and found[2] == len(source) else None


def _scan(file: DumpFile, join: Join) -> None:
    characters, values, statements = (join.table(f"rpy.{topic}") for topic in ("characters", "values", "statements"))
    text = file.text(_MAX_BYTES)
    for found in _CHARACTER.finditer(text):
        variable, factory = found.group(1), found.group(2)
        arguments = call_arguments(text[found.start(3) : found.start(3) + 4000], 0)
        by_name = dict(reversed([pair for pair in arguments if pair[0]]))
        first = by_name.get("name") or next((source for keyword, source in arguments if not keyword), None)
        dynamic = factory == "DynamicCharacter" or by_name.get("dynamic") == "True"
        character = _Character(None, by_name.get("kind"), first is not None)
        if first is not None:
            literal = _literal(first)
            if literal is not None:
                shown = unescape(literal) if dynamic else shown_text(literal)
                character = replace(character, name=f"[{shown}]" if dynamic else shown)
            elif first != "None":
                character = replace(character, name=variable)  # an expression: known to the file by its variable
        characters.setdefault(variable, character)
    for found in _VALUE.finditer(text):
        value = string_at(text, found.end())
        if value and len(value[0]) < 200:
            values.setdefault(found.group(1), shown_text(value[0]))
    for found in _STATEMENT.finditer(text):
        statements.setdefault(found.group(1).split()[0], True)


def _speaker(variable: str, join: Join) -> str | None:
    """The name shown for a character variable; the variable itself where no file defines it."""
    characters = join.table("rpy.characters")
    seen: set[str] = set()
    name: str | None = variable
    while variable not in seen:
        seen.add(variable)
        character = characters.get(variable) or characters.get(f"character.{variable}")
        if not isinstance(character, _Character):
            return None if variable in _NARRATORS or (seen - {variable}) else name
        if character.named:
            name = character.name
            break
        if not character.kind:
            return None
        variable = character.kind
    if name and name.startswith("[") and name.endswith("]"):
        value = join.table("rpy.values").get(name[1:-1])
        return value if isinstance(value, str) and value else name
    return name


def _sniff(file: DumpFile) -> float:
    score = sum(weight for pattern, weight in _MARKS if pattern.search(file.head))
    if file.suffix in (".rpy", ".rpym"):  # a script of code alone shows none of the marks
        return max(0.35, min(score, 0.9))
    return min(score, 0.9) if score >= 0.6 else 0.0  # Python looks a little like it


_MARKS = (
    (re.compile(r"(?m)^[ \t]*label[ \t]+[\w.]+(?:\([^)\n]*\))?[ \t]*:"), 0.6),
    (re.compile(r"(?m)^[ \t]*(?:define|default)[ \t]+[\w.]+[ \t]*="), 0.4),
    (re.compile(r"(?m)^translate[ \t]+\w+[ \t]+\w+[ \t]*:"), 0.7),
    (re.compile(r"(?m)^(?:init|screen|style|transform)\b[^\n]*:[ \t]*$"), 0.4),
    (re.compile(r"(?m)^[ \t]+(?:menu|jump|scene|show|return)\b"), 0.2),
    (re.compile(r"(?m)^[ \t]+\w+(?: \w+)* \"[^\"\n]*\"[ \t]*$"), 0.1),
)


@reader("rpy", "Ren'Py script", sniff=_sniff, extensions=(".rpy", ".rpym"), scan=_scan)
def read_rpy(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every say statement, narration and menu choice."""
    yield from _Script(file, join).lines()


class _Script:
    """One pass over one script."""

    def __init__(self, file: DumpFile, join: Join) -> None:
        self._file = file
        self._join = join
        self._scene: str | None = None
        self._translation: tuple[int, str, str] | None = None  # (indent, language, id)
        self._monologue = "double"
        self._last: Line | None = None  # kept back one line, because `extend` goes on with it

    def lines(self) -> Iterator[Line | None]:
        skip_above: int | None = None  # inside a block without speech: everything deeper than this column
        menus: list[int] = []
        for logical in logical_lines(self._file.text(_MAX_BYTES)):
            if skip_above is not None and logical.indent > skip_above:
                continue
            skip_above = None
            while menus and logical.indent <= menus[-1]:
                menus.pop()
            if self._translation and logical.indent <= self._translation[0]:
                self._translation = None
            text = _INIT.sub("", logical.text, count=1)
            if text == ":" or self._has_no_speech(text, logical):
                skip_above = logical.indent
            elif _MENU.match(text):
                menus.append(logical.indent)
            else:
                for line in self._statement(text, logical, bool(menus)):
                    yield self._last
                    self._last = line
        yield self._last

    def _has_no_speech(self, text: str, logical: Logical) -> bool:
        """Whether a block begins here that holds no speech; labels and translate blocks are noted on the way."""
        if label := _LABEL.match(text):
            name = label.group(1)
            self._scene = f"{(self._scene or '').partition('.')[0]}{name}" if name.startswith(".") else name
            return False
        if translate := _TRANSLATE.match(text):
            language, identifier = translate.groups()
            if identifier in ("strings", "python", "style"):
                return True
            self._translation = (logical.indent, language, identifier)
            return False
        return text.endswith(":") and _SKIPPED_BLOCKS.match(text) is not None

    def _statement(self, text: str, logical: Logical, in_menu: bool) -> Iterator[Line]:
        if monologue := _MONOLOGUE.match(text):
            self._monologue = monologue.group(1)
            return
        words, at = self._words(text)
        found = string_at(text, at)
        if words is None or found is None:
            return
        raw, quote, end = found
        second = string_at(text, end + _spaces(text, end)) if not words else None
        rest = text[(second[2] if second else end) :]
        if in_menu and not words and second is None and text.endswith(":"):
            yield from self._make(logical, shown_text(raw), None, "choice")
            return
        if text.endswith(":") or rest.lstrip()[:1] in ("=", "+", "[", "."):
            return  # a block of some statement we do not know, or an expression
        speaker: str | None = None
        if second is not None:
            speaker, (raw, quote, _) = shown_text(raw), second
        elif words:
            if words[0] == "extend":
                self._extend(shown_text(raw))
                return
            speaker = _speaker(words[0], self._join)
        kind = "dialogue" if speaker else "narration"
        identifier = _ID.search(rest)
        for part in paragraphs(raw, self._monologue) if len(quote) == 3 else [raw]:
            yield from self._make(logical, shown_text(part), speaker, kind, identifier.group(1) if identifier else None)

    def _words(self, text: str) -> tuple[list[str] | None, int]:
        """The bare words before the first string, and where it begins; None for words that do not speak."""
        words: list[str] = []
        at = 0
        while found := _WORD.match(text, at):
            if string_at(text, at):  # r"..." is a string, not the word r
                break
            words.append(found.group(0))
            at = found.end() + _spaces(text, found.end())
            if len(words) > 30:
                return None, at
        if text.startswith("_(", max(0, at - 1)) and words and words[-1] == "_":  # e _("text")
            words.pop()
            at += _spaces(text, at) + 1
        if not words:
            return words, at
        first = words[0].partition(".")[0]
        if first in _STATEMENTS or first[0] in "-@" or first in self._join.table("rpy.statements"):
            return None, at
        return words, at

    def _make(
        self, logical: Logical, text: str, speaker: str | None, kind: str, id: str | None = None
    ) -> Iterator[Line]:
        language = identifier = None
        if self._translation:
            _, language, identifier = self._translation
        hashed = _HASHED.match(identifier or "")  # "start_636ae3f5" translates a line of the label start
        scene = hashed.group(1) if hashed else self._scene
        line = self._file.line(logical.number, text, speaker, kind, scene=scene, lang=language, id=id or identifier)
        if line is not None:
            yield line

    def _extend(self, text: str) -> None:
        if self._last is not None and text:
            gap = "" if text[0] in ",.!?;:…" else " "
            self._last = replace(self._last, text=f"{self._last.text}{gap}{text}"[:20_000])


def _spaces(text: str, at: int) -> int:
    return len(text[at:]) - len(text[at:].lstrip(" \n"))
