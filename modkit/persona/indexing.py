"""The index side of a build: each kept line goes into `lines`, the words it is found by, and its vector.

Runs on the thread that builds, inside its one transaction.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from modkit.errors import PersonaError
from modkit.persona import store, vectors
from modkit.persona.knowledge import Knowledge
from modkit.persona.lines import Line, Source
from modkit.persona.memory import index_words, is_question, stem
from modkit.persona.vectors import Embedder

__all__ = ["Index", "embed_lines"]

_BATCH = 512  # texts given to the embedder at once
_RECENT = 64  # lines back in which a cue is looked for
_ASKED_UP_TO = 400  # characters of a question that are embedded with its answer
_EMBEDDED = (
    "CASE WHEN instr(l.terms, char(9)) AND c.text IS NOT NULL "
    f"THEN substr(c.text, 1, {_ASKED_UP_TO}) || ' ' || l.text ELSE l.text END"
)


class Index:
    """Writes lines, lore, gates and the vocabulary."""

    def __init__(self, connection: apsw.Connection, knowledge: Knowledge) -> None:
        self._connection = connection
        self._knowledge = knowledge
        self._gates: dict[str, int] = {}
        self._words: Counter[str] = Counter()
        self._recent: dict[tuple[int, str], int] = {}  # (place in the file, file) of the last heard lines
        self._count = 0
        self._gated = 0

    def add(self, line: Line, cue: Line | None, near: str | None, own: bool) -> None:
        """Write one line; `near` None keeps it out of the index."""
        # A cue was heard just before, so it is among the last lines written.
        cue_id = self._recent.get((cue.index, cue.source.file)) if cue is not None else None
        asked = cue is not None and is_question(cue.text, cue.speaker, cue.kind)
        question = index_words(cue.text) if cue is not None and asked else ""
        said = index_words(line.text)
        gate, quest = self._knowledge.of_line(line)
        terms = f"{said}\t{question}" if question else said
        self._connection.execute(
            store.INSERT_LINE, store.line_values(line, own, cue_id, self._gate(gate), quest, terms)
        )
        number = self._connection.last_insert_rowid()
        if not own:
            self._recent[line.index, line.source.file] = number
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]
        if near is not None:
            around = near if cue is None or asked else f"{cue.text} {near}"
            scene = (line.scene or "").replace("_", " ")
            self._find_by(number, said, question, index_words(around), index_words(scene))

    def add_lore(self) -> int:
        """Write the lore; returns how many entries."""
        for place, entry in enumerate(self._knowledge.lore, 1):
            line = Line(entry.text, None, "lore", entry.title, place, source=Source("lore", f"entry {place}"))
            said, keys = index_words(entry.text), index_words(" ".join(entry.keys))
            self._connection.execute(
                store.INSERT_LINE,
                store.line_values(line, False, None, self._gate(entry.when), entry.quest, f"{said}\t{keys}"),
            )
            number = self._connection.last_insert_rowid()
            self._find_by(number, said, keys, "", index_words(entry.title or ""))
        return len(self._knowledge.lore)

    def finish(self) -> int:
        """Write the vocabulary; returns how many lines have a gate."""
        self._connection.executemany("INSERT INTO vocabulary (word, lines) VALUES (?, ?)", self._words.items())
        self._connection.execute("INSERT INTO vocabulary (word, lines) VALUES ('', ?)", (self._count,))
        return self._gated

    def _find_by(self, number: int, *columns: str) -> None:
        self._connection.execute(
            "INSERT INTO words (rowid, text, cue, near, scene) VALUES (?, ?, ?, ?, ?)", (number, *columns)
        )
        self._count += 1
        self._words.update({stem(word) for text in columns[:2] for word in text.split()})

    def _gate(self, expression: str | None) -> int | None:
        if expression is None:
            return None
        self._gated += 1
        if expression not in self._gates:
            self._connection.execute("INSERT INTO gates (expression) VALUES (?)", (expression,))
            self._gates[expression] = self._connection.last_insert_rowid()
        return self._gates[expression]


def embed_lines(
    connection: apsw.Connection, embedder: Embedder, old: Path, progress: Callable[[float], None] | None
) -> tuple[int, int]:
    """Give every indexed line a vector; returns how many were made and how many taken from the `old` persona.

    A short answer means little alone, so it is embedded with the question it answered. Sentences of a line, and an
    answer alone, are its parts; they have vectors beside it.
    """
    reason = vectors.load_functions(connection)
    if reason is not None:
        raise PersonaError(f"{reason}: install the sqlite-vec package, or build without an embedder")
    connection.execute("CREATE TEMP TABLE embedded (id INTEGER PRIMARY KEY, text TEXT NOT NULL, said TEXT NOT NULL)")
    connection.execute(
        f"INSERT INTO embedded SELECT l.id, {_EMBEDDED}, l.text "
        "FROM lines AS l LEFT JOIN lines AS c ON c.id = l.cue WHERE l.id IN (SELECT rowid FROM words)",
    )
    probe = embedder.embed(["lamp"])  # the name and the dimensions are known from here on
    reused = _reuse(connection, embedder, old)
    left = connection.execute("SELECT id, text FROM embedded WHERE id NOT IN (SELECT id FROM vectors)").fetchall()
    whole: Any = connection.execute("SELECT id, text, said FROM embedded WHERE id NOT IN (SELECT line FROM parts)")
    # Each text is embedded once, by length: a batch of like lengths wastes nothing on padding.
    lines: dict[str, list[int]] = {}
    for number, text in left:
        lines.setdefault(str(text), []).append(int(number))  # type: ignore[arg-type]
    parts: dict[str, list[tuple[int, int]]] = {}
    for number, text, said in whole:
        for place, part in enumerate(vectors.parts_of(said, alone=text == said)):
            parts.setdefault(part, []).append((number, place))
    texts = sorted(lines.keys() | parts.keys(), key=lambda text: (len(text), text))
    dimensions = len(probe.cast("B")) // 4
    for at in range(0, len(texts), _BATCH):
        batch = texts[at : at + _BATCH]
        rows = vectors.row_bytes(embedder.embed(batch), dimensions)
        for text, row in zip(batch, rows, strict=True):
            ids = lines.get(text, ())
            vectors.store_vectors(connection, ids, [row] * len(ids))
            vectors.store_parts(connection, parts.get(text, ()), row)
        if progress is not None:
            progress(min(1.0, (at + len(batch)) / len(texts)))
    return len(left), reused


def _reuse(connection: apsw.Connection, embedder: Embedder, old: Path) -> int:
    """Take the vectors of equal texts from the persona that `old` holds, if it is one of the same embedder."""
    if not old.is_file():
        return 0
    before = None
    with contextlib.suppress(PersonaError, apsw.Error):
        before = store.open_readonly(old)
    if before is None:
        return 0
    taken = 0
    try:
        name = before.execute("SELECT value FROM meta WHERE key = 'embedder'").fetchone()
        if name is None or name[0] != embedder.name:
            return 0
        wanted: dict[tuple[str, str], list[int]] = {}
        for number, text, said in connection.execute("SELECT id, text, said FROM embedded"):
            wanted.setdefault((str(text), str(said)), []).append(int(number))
        has_parts = before.execute("SELECT 1 FROM sqlite_schema WHERE name = 'parts'").fetchone()
        rows: Any = before.execute(
            f"SELECT {_EMBEDDED}, l.text, b.b, v.v, l.id "
            "FROM vectors AS v JOIN bits AS b ON b.id = v.id JOIN lines AS l ON l.id = v.id "
            "LEFT JOIN lines AS c ON c.id = l.cue",
        )
        for text, said, bits, numbers, line in rows:
            ids = wanted.pop((text, said), ())
            parts: Any = ()
            if ids and has_parts:
                parts = before.execute("SELECT part, v FROM parts WHERE line = ?", (line,)).fetchall()
            for number in ids:
                connection.execute("INSERT INTO bits (id, b) VALUES (?, ?)", (number, bits))
                connection.execute("INSERT INTO vectors (id, v) VALUES (?, ?)", (number, numbers))
                connection.executemany("INSERT INTO parts VALUES (?, ?, ?)", [(number, n, v) for n, v in parts])
                taken += 1
    except apsw.Error:  # a damaged old file: what it gave so far is good, the rest is made anew
        pass
    finally:
        before.close()
    return taken
