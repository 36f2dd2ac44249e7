"""Bethesda's Creation Kit: the dialogue export of a quest and the export of a scene.

Both are tab-separated and never quoted, mostly cp1252. A scene is exported once per voice type with
all its rows each time, so a line counts once per voice file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.bethesda_text import shown
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_HEADER_WITHIN = 5
_MAX_GROUP = 100_000  # rows of one scene, which is sorted as a whole

_DIALOGUE = frozenset(("SPEAKER", "TOPICINFO", "RESPONSE TEXT"))
_SCENE = frozenset(("ALIAS", "SUPPORTING DIALOGUE", "RESPONSE TEXT"))


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    cells: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.cells.get(name, "")


def _headers(line: str) -> list[str]:
    return [cell.strip().strip('"').upper() for cell in line.split("\t")]


def _is_header(line: str) -> frozenset[str] | None:
    cells = set(_headers(line)) if line.count("\t") < 200 else set()
    return next((kind for kind in (_SCENE, _DIALOGUE) if kind <= cells), None)


def _sniff(file: DumpFile) -> float:
    return 1.0 if any(_is_header(line) for line in file.head.split("\n")[:_HEADER_WITHIN]) else 0.0


def _rows(file: DumpFile) -> Iterator[tuple[frozenset[str], _Row]]:
    """(kind of export, row) for every row; exports that were put together have a header before each part."""
    kind: frozenset[str] | None = None
    names: list[str] = []
    for number, line in file.lines():
        found = _is_header(line) if "RESPONSE TEXT" in line[:4000].upper() else None
        if found:
            kind, names = found, _headers(line)
        elif kind is not None and line.strip():
            cells = line.split("\t", len(names))
            if len(cells) < len(names) // 2:
                file.warn(f"line {number} has {len(cells)} columns instead of {len(names)}")
                continue
            yield kind, _Row(number, dict(zip(names, cells)))
        elif kind is None and number > _HEADER_WITHIN:
            raise DumpError(f"{file.name} has no header row of a Creation Kit export")


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


@reader("creation kit", "Creation Kit dialogue export", sniff=_sniff, extensions=(".txt", ".tsv"), records=True)
def read_export(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every response, and each prompt of the player before what it is answered with."""
    writer = _Writer(file, join)
    for (kind, _), group in groupby(_rows(file), key=_group):
        rows: list[_Row] = []
        for _, row in group:
            rows.append(row)
            if len(rows) > _MAX_GROUP:
                raise DumpError(f"{file.name} has more than {_MAX_GROUP:,} rows in one scene")
        if kind is _SCENE:
            for row in sorted(rows, key=lambda row: _number(row["SCENE PHASE"])):
                yield writer.scene(row)
        else:
            for row in sorted(rows, key=lambda row: _number(row["RESPONSE INDEX"])):
                yield from writer.dialogue(row)


def _group(item: tuple[frozenset[str], _Row]) -> tuple[frozenset[str], str]:
    kind, row = item
    if kind is _SCENE:
        return kind, row["SCENE"]
    # One speaker's responses to one topic; other voices of the same topic follow in rows of their own.
    return kind, "\t".join((row["TOPICINFO"], row["SPEAKER"], row["VOICE TYPE"]))


class _Writer:
    def __init__(self, file: DumpFile, join: Join) -> None:
        self._file = file
        self._join = join
        self._prompt: tuple[str, str] | None = None

    def scene(self, row: _Row) -> Line | None:
        text = row["RESPONSE TEXT"].strip() or row["SUPPORTING DIALOGUE"]
        return self._line(row, text, row["ALIAS"], row["SCENE"], row["HEADTRACK TARGET"], "scene")

    def dialogue(self, row: _Row) -> Iterator[Line | None]:
        topic = row["TOPIC"].strip() or row["BRANCH"].strip() or row["QUEST"].strip()
        asked = row["PROMPT"].strip() or row["TOPIC TEXT"].strip()
        if asked and self._prompt != (topic, asked):
            self._prompt = (topic, asked)  # repeated on every row of the answer; it was said once
            yield self._file.line(row.number, shown(asked), kind="choice", scene=topic)
        yield self._line(row, row["RESPONSE TEXT"], row["SPEAKER"], topic, "", "dialogue")

    def _line(self, row: _Row, text: str, speaker: str, scene: str, addressee: str, export: str) -> Line | None:
        name, text, speaker = row["FILENAME"].strip(), shown(text), speaker.strip()
        if name and text:
            seen = self._join.table("ck.files").setdefault(name.casefold(), {})
            assert isinstance(seen, dict)
            # In another kind of export the same voice file has another name for its speaker.
            if seen and (export not in seen or speaker.casefold() in seen[export]):
                return None
            seen.setdefault(export, set()).add(speaker.casefold())
        return self._file.line(
            row.number, text, speaker or None, scene=scene, addressee=addressee or None, id=name or None
        )
