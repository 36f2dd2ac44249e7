"""Yarn Spinner scripts (.yarn) and the string tables that go with them (CSV).

A line is `Name: text`, as Yarn Spinner itself reads it; options are the player's. A string table
takes speaker, node and kind of a line from the script with the same line id.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_HEADER = re.compile(r"(?m)^title:", re.IGNORECASE)
_BODY = re.compile(r"(?m)^---\s*$")
_END = re.compile(r"(?m)^===\s*$")
_PROPERTY = re.compile(r"([A-Za-z][\w.-]{0,60})\s*:\s*(.*)$")

_COMMENT = re.compile(r"(?:^|(?<=\s))//.*$")
_HASHTAGS = re.compile(r"(?:(?:^|(?<=\s))#[^\s#]+\s*)+$")
_LINE_ID = re.compile(r"#(line:\S+)")
_COMMAND = re.compile(r"<<[^<>]*(?:[<>](?![<>])[^<>]*)*>>")
_OPTION = re.compile(r"->\s*")
_GROUP = re.compile(r"=>\s*")
_LINK = re.compile(r"\[\[([^\[\]|]{1,500})\|([^\[\]|]{1,200})\]\]")
_BARE_LINK = re.compile(r"\[\[[^\[\]]{1,500}\]\]")
_NAME = re.compile(r"((?:[^:\\{}\"?!<>\[\]]|\\.|\{[^{}]{1,100}\}){1,60}?):(?=\s|$)\s*")
_CHARACTER = re.compile(r"\[character\s+name\s*=\s*\"?([^\"\]/]{1,80})\"?[^\]]*\]")
_SELECT = re.compile(r"\[(select|plural|ordinal)\s+([^\[\]]{1,500}?)/?\]")
_ATTRIBUTE = re.compile(r"(\w{1,40})\s*=\s*(?:\"([^\"]*)\"|(\{[^{}]*\}|[^\s\"]+))")
_MARKUP = re.compile(r"\[/?(?:[a-zA-Z_][^\[\]]{0,300})?/?\]")
_DECLARED = re.compile(r"<<declare\s+(\$\w+)\s*(?:=|to)\s*\"([^\"]{1,80})\"")
_VARIABLE = re.compile(r"\{(\$\w+)\}$")


@dataclass(frozen=True, slots=True)
class _Known:
    """What a script says about a line id."""

    text: str
    speaker: str | None
    kind: str
    scene: str | None


def _sniff(file: DumpFile) -> float:
    head = file.head
    if _HEADER.search(head) and _BODY.search(head) and (_END.search(head) or file.suffix == ".yarn"):
        return 0.95
    return 0.0


def _scan(file: DumpFile, join: Join) -> None:
    declared, known = join.table("yarn.declared"), join.table("yarn.lines")
    for _, line in file.lines():
        if "<<declare" in line:
            for found in _DECLARED.finditer(line):
                declared.setdefault(found.group(1), found.group(2))
    for spoken in _spoken(file):
        if spoken.id:
            known.setdefault(spoken.id, _Known(spoken.text, spoken.speaker, spoken.kind, spoken.scene))


@dataclass(frozen=True, slots=True)
class _Spoken:
    number: int
    text: str
    speaker: str | None
    kind: str
    scene: str | None
    id: str | None


@reader("yarn", "Yarn Spinner script", sniff=_sniff, extensions=(".yarn",), scan=_scan)
def read_yarn(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every line, and every option as the player's choice."""
    for spoken in _spoken(file):
        speaker = _resolved(spoken.speaker, join)
        yield file.line(spoken.number, spoken.text, speaker, spoken.kind, scene=spoken.scene, id=spoken.id)


def _resolved(speaker: str | None, join: Join) -> str | None:
    """A speaker that is a variable, by the value the script declares for it."""
    variable = _VARIABLE.match(speaker) if speaker else None
    value = join.table("yarn.declared").get(variable.group(1)) if variable else None
    return value if isinstance(value, str) else speaker


def _spoken(file: DumpFile) -> Iterator[_Spoken]:
    scene: str | None = None
    in_body = False
    for number, line in file.lines():
        bare = line.strip()
        if not in_body:
            if bare == "---":
                in_body = True
            elif (found := _PROPERTY.match(bare)) and found.group(1).casefold() == "title":
                scene = found.group(2).strip() or None
        elif bare == "===":
            scene, in_body = None, False
        elif bare:
            yield from _statement(number, bare, scene)


def _statement(number: int, text: str, scene: str | None) -> Iterator[_Spoken]:
    text = _COMMENT.sub("", text[:20_000]).strip()
    tags = _HASHTAGS.search(text)
    identifier = None
    if tags:
        found = _LINE_ID.search(tags.group(0))
        identifier = found.group(1) if found else None
        text = text[: tags.start()].rstrip()
    text = _COMMAND.sub(" ", text).strip()
    kind = "dialogue"
    if option := _OPTION.match(text):
        kind, text = "choice", text[option.end() :]
    elif group := _GROUP.match(text):
        text = text[group.end() :]
    for link in _LINK.finditer(text):
        yield _Spoken(number, plain_yarn(link.group(1)), None, "choice", scene, identifier)
        identifier = None
    text = _BARE_LINK.sub(" ", text)
    speaker, words = name_and_text(text)
    if words:
        if kind == "dialogue" and speaker is None:
            kind = "narration"
        yield _Spoken(number, words, speaker, kind, scene, identifier)


def name_and_text(text: str) -> tuple[str | None, str]:
    """(the character a Yarn line names, its text without markup)."""
    speaker: str | None = None
    if explicit := _CHARACTER.search(text):
        speaker = explicit.group(1)
        text = text[explicit.end() :] if not text[: explicit.start()].strip() else text
        text = text.removeprefix(f"{speaker}:")
    elif (found := _NAME.match(text)) and len(found.group(1).split()) <= 6:
        speaker, text = found.group(1).replace("\\", ""), text[found.end() :]
    return speaker, plain_yarn(text)


def plain_yarn(text: str) -> str:
    """`text` without markup; of a choice by value the general form stays, with the value visible."""
    text = text.replace("\\[", "\x01").replace("\\]", "\x02").replace("\\:", ":")
    text = _MARKUP.sub("", _SELECT.sub(_selected, text))
    text = re.sub(r"\\([\\/#{}<>\-])", r"\1", text.replace("\x01", "[").replace("\x02", "]"))
    return " ".join(text.split())


def _selected(found: re.Match[str]) -> str:
    pairs = [(a.group(1), a.group(2) if a.group(2) is not None else a.group(3)) for a in
             _ATTRIBUTE.finditer(found.group(2))]  # fmt: skip
    values = dict(pairs)
    value = values.pop("value", values.pop(found.group(1), ""))
    shown = values.get("other", next(iter(values.values()), ""))
    return re.sub(r"(?<!\\)%", lambda _: value, shown)


# -- string tables ----------------------------------------------------------------------------------


def _columns(file: DumpFile) -> dict[str, int]:
    """Column by header of a string table: Yarn Spinner's own, or a translation table with keys; {} for others."""
    first = next(iter(file.head.splitlines()), "")
    if "," not in first or len(first) > 2000:
        return {}
    headers = [cell.strip().strip('"').casefold() for cell in first.split(",")]
    where = {header: column for column, header in reversed(list(enumerate(headers)))}
    if {"id", "text"} <= where.keys() and where.keys() & {"linenumber", "node", "lock"}:
        return where
    if headers[0] == "keys" and len(headers) > 1 and ("line:" in file.head or "_character" in where):
        return where
    return {}


def _sniff_table(file: DumpFile) -> float:
    return 0.98 if file.suffix in (".csv", ".txt", "") and _columns(file) else 0.0


@reader("yarn-csv", "Yarn string table", sniff=_sniff_table, extensions=(".csv",), records=True)
def read_yarn_table(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every string; what is the script's own text in the same words is passed over."""
    where = _columns(file)
    known = join.table("yarn.lines")
    here = [0]

    def numbered() -> Iterator[str]:
        for number, line in file.lines():
            here[0] = number
            yield line + "\n"

    languages = [(h, c) for h, c in where.items() if "keys" in where and re.fullmatch(r"[a-z]{2,3}(?:[_-]\w+)?", h)]
    rows = csv.reader(numbered())
    try:
        next(rows, None)
        start = here[0] + 1
        for row in rows:
            cell = {header: row[column] for header, column in where.items() if column < len(row)}
            for language, text in (
                [(name, row[column]) for name, column in languages if column < len(row)]
                if languages
                else [(cell.get("language", ""), cell.get("text", ""))]
            ):
                yield _table_line(file, start, cell, language, text, join, known)
            start = here[0] + 1
    except csv.Error as error:
        raise DumpError(f"{file.name} is damaged at line {here[0]}: {error}") from None


def _table_line(
    file: DumpFile, number: int, cell: dict[str, str], language: str, text: str, join: Join, known: dict[str, object]
) -> Line | None:
    identifier = cell.get("id") or cell.get("keys") or ""
    script = known.get(identifier) or known.get(f"line:{identifier}")
    speaker, words = name_and_text(text)
    if isinstance(script, _Known):
        if words == script.text:
            return None  # the script's own words
        speaker, kind, scene = speaker or script.speaker, script.kind, script.scene
    else:
        speaker = speaker or cell.get("_character") or None
        kind, scene = ("dialogue" if speaker else "narration"), cell.get("node") or None
    return file.line(number, words, _resolved(speaker, join), kind, scene=scene, lang=language, id=identifier)
