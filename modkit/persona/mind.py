"""What an NPC lived through in play: heard, said, was told, and has in mind of long talks. Kept in the save.

A memory has an importance (0 to 1), the game time in hours, and who was there. What comes to mind at a question
is what is near it, by words and by meaning, weighed by importance and by how long ago it was. Everything is in
the save's file, so an older save is exactly the older mind. May be used from any thread; it reads and writes
the disk, so in a game it is called off the frame (`NPC` does).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw
import msgpack

from modkit.errors import ModkitError, OptionError
from modkit.persona import vectors
from modkit.persona.lines import Source, tidy, whole
from modkit.persona.memory import STOP_WORDS, Memory, index_words, match_query, stem, tokens
from modkit.persona.save import Save
from modkit.persona.vectors import Embedder

__all__ = ["Experience", "Mind", "importance_of"]

MAX_EXPERIENCE = 2000  # characters
HALF_LIFE = 72.0  # game hours after which recency is halved
_NEAR = 0.34  # share of the question's telling words, or as much of likeness, below which nothing comes to mind
_LIKE_FROM, _LIKE_TO = 0.25, 0.75  # the likenesses that count as nothing and as everything
_CANDIDATES = 40
_GREAT_WORDS = """
name promise promised secret love loved hate hated kill killed die dead marry married owe never always sorry thank
friend enemy mother father brother sister son daughter wife husband home afraid remember
"""
_GREAT = frozenset(index_words(_GREAT_WORDS).split())


@dataclass(frozen=True, slots=True)
class Experience:
    """One thing lived through. `kind`: heard, said, told or summary. `time` in game hours."""

    text: str
    kind: str = "told"
    speaker: str | None = None
    cue: str | None = None
    importance: float = 0.5
    time: float = 0.0
    present: tuple[str, ...] = ()
    turn: int = 0
    id: int = 0

    def as_memory(self, score: float = 1.0) -> Memory:
        """As it stands beside the memories of the dump."""
        place = f"turn {self.turn}" if self.turn else f"hour {self.time:g}"
        return Memory(self.text, self.speaker, self.kind, None, Source("save", place), score, self.cue, self.id)


def importance_of(text: str) -> float:
    """A guess, 0.2 to 0.8: names, numbers and great words make it more, small talk less."""
    words = tokens(text)
    telling = [word for word in words if word not in STOP_WORDS]
    great = sum(1 for word in words if word in _GREAT)
    names = sum(1 for word in text.split()[1:] if word[:1].isupper() and word.lower() not in STOP_WORDS)
    return min(0.8, 0.2 + 0.03 * min(5, len(telling)) + 0.15 * min(2, great) + 0.05 * min(3, names))


class Mind:
    """The mind of one NPC, by its id in a save."""

    def __init__(self, save: Save, npc: str, embedder: Embedder | None = None) -> None:
        self.save = save
        self.npc = npc
        self.embedder = embedder
        self._vectors: bool | None = None  # whether sqlite-vec's functions are there; None: not tried

    # ---- writing ----

    def add(self, experiences: Iterable[Experience]) -> None:
        """Keep them, in one transaction. Raises SaveError."""
        rows = self.rows(experiences)
        self.save.write(lambda connection: self.insert(connection, rows))

    def rows(self, experiences: Iterable[Experience]) -> list[tuple[Experience, bytes | None]]:
        """Checked and, with an embedder, with their vectors; what takes time is done here."""
        kept = [_tidied(one) for one in experiences]
        kept = [one for one in kept if one.text]
        made: list[bytes | None] = [None] * len(kept)
        if self.embedder is not None and kept:
            try:
                rows = self.embedder.embed([one.text for one in kept])
                made = list(vectors.row_bytes(rows, len(rows.cast("B")) // 4 // len(kept)))
            except ModkitError:  # found by words, then
                pass
        return list(zip(kept, made, strict=True))

    def insert(self, connection: apsw.Connection, rows: Iterable[tuple[Experience, bytes | None]]) -> None:
        """Write rows inside somebody's transaction."""
        name = self.embedder.name if self.embedder is not None else ""
        for one, vector in rows:
            connection.execute(
                "INSERT INTO memories (npc, kind, speaker, text, cue, importance, time, present, turn, vector, "
                "embedder) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.npc, one.kind, one.speaker, one.text, one.cue, min(1.0, max(0.0, one.importance)), one.time,
                    "\n".join(tidy(who, 80) for who in one.present), one.turn, vector, name if vector else "",
                ),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO memory_words (rowid, text, cue) VALUES (?, ?, ?)",
                (connection.last_insert_rowid(), index_words(one.text), index_words(one.cue or "")),
            )

    def forget(self, what: int | str) -> int:
        """Forget the memory of this number, or all whose text has these words in it; returns how many."""
        if isinstance(what, str):
            part = what.strip().casefold()
            if not part:
                raise OptionError("forget() takes a part of a text, or the number of a memory")
            ids = [one.id for one in self.everything() if part in one.text.casefold()]
        else:
            ids = [one.id for one in self.everything() if one.id == what]
        self.save.write(lambda connection: _delete(connection, ids))
        return len(ids)

    def undo(self, turn: int) -> None:
        """Take back the turn of this number: the turn, what is remembered of it, and summaries that have it in."""

        def take_back(connection: apsw.Connection) -> None:
            rows: Any = connection.execute("SELECT id FROM memories WHERE npc = ? AND turn >= ?", (self.npc, turn))
            _delete(connection, [int(row[0]) for row in rows])
            connection.execute("DELETE FROM turns WHERE npc = ? AND id = ?", (self.npc, turn))

        if turn > 0:
            self.save.write(take_back)

    def fold(self, summary: Experience, turns: Sequence[int]) -> None:
        """Put a summary in the place of what was of little importance in these turns."""
        rows = self.rows([summary])

        def replace_them(connection: apsw.Connection) -> None:
            small: Any = connection.execute(
                "SELECT id FROM memories WHERE npc = ? AND importance < 0.4 AND kind <> 'summary' "
                "AND turn IN (SELECT value FROM json_each(?))",
                (self.npc, json.dumps(list(turns))),
            )
            _delete(connection, [int(row[0]) for row in small])
            self.insert(connection, rows)

        self.save.write(replace_them)

    def put(self, key: str, value: object) -> None:
        """Keep a plain value (numbers, texts, lists, dicts) for this NPC."""
        self.save.write(lambda connection: self.put_in(connection, key, value))

    def put_in(self, connection: apsw.Connection, key: str, value: object) -> None:
        """As `put`, inside somebody's transaction."""
        packed = msgpack.packb(value, unicode_errors="replace")
        connection.execute("REPLACE INTO minds (npc, key, value) VALUES (?, ?, ?)", (self.npc, key, packed))

    def get(self, key: str, default: Any = None) -> Any:
        """What was `put` under `key`."""
        with self.save.connection() as connection:
            row: Any = connection.execute(
                "SELECT value FROM minds WHERE npc = ? AND key = ?", (self.npc, key)
            ).fetchone()
        try:
            return msgpack.unpackb(bytes(row[0]), strict_map_key=False) if row else default
        except (ValueError, TypeError, msgpack.UnpackException):
            return default

    # ---- reading ----

    def everything(self) -> list[Experience]:
        """All that is remembered, oldest first. Raises SaveError."""
        return self._read("npc = ? ORDER BY id", (self.npc,))

    def last_summary(self) -> Experience | None:
        """What was folded last."""
        found = self._read("npc = ? AND kind = 'summary' ORDER BY id DESC LIMIT 1", (self.npc,))
        return found[0] if found else None

    def recall(
        self, question: str, k: int = 2, *, now: float = 0.0, besides: Sequence[int] = (), vector: bytes | None = None
    ) -> list[Memory]:
        """The at most `k` experiences nearest to `question`, best first.

        `now` is the game time; `besides` are turns that are still before everybody's eyes and need not be
        remembered. Raises SaveError.
        """
        telling = [word for word in tokens(question) if word not in STOP_WORDS]
        if k < 1 or not (telling or vector):
            return []
        likeness = self._alike(vector) if vector is not None else {}
        numbers = [*self._with_words(telling), *likeness]
        wanted = {stem(word) for word in telling}
        scored = []
        for one in self._read("id IN (SELECT value FROM json_each(?)) AND npc = ?", (json.dumps(numbers), self.npc)):
            if one.turn and one.turn in besides:
                continue
            has = {stem(word) for word in index_words(f"{one.text} {one.cue or ''}").split()}
            share = len(wanted & has) / len(wanted) if wanted else 0.0
            alike = (likeness.get(one.id, 0.0) - _LIKE_FROM) / (_LIKE_TO - _LIKE_FROM)
            near = max(share, min(1.0, alike))
            if near >= _NEAR:
                recency = 0.5 ** (max(0.0, now - one.time) / HALF_LIFE)
                scored.append((near * (0.5 + 0.3 * one.importance + 0.2 * recency), one))
        scored.sort(key=lambda pair: (-pair[0], -pair[1].id))
        return [one.as_memory(score) for score, one in scored[:k]]

    def _with_words(self, telling: list[str]) -> list[int]:
        if not telling:
            return []
        with self.save.connection() as connection:
            rows: Any = connection.execute(
                "SELECT w.rowid FROM memory_words AS w JOIN memories AS m ON m.id = w.rowid "
                "WHERE memory_words MATCH ? AND m.npc = ? ORDER BY bm25(memory_words, 1.0, 0.6) LIMIT ?",
                (match_query(telling), self.npc, _CANDIDATES),
            ).fetchall()
        return [int(row[0]) for row in rows]

    def _alike(self, vector: bytes) -> dict[int, float]:
        with self.save.connection() as connection:
            if self._vectors is None:
                self._vectors = vectors.load_functions(connection) is None
            if not self._vectors:
                return {}
            rows: Any = connection.execute(
                "SELECT id, 1.0 - vec_distance_cosine(vec_f32(vector), vec_f32(?)) AS likeness FROM memories "
                "WHERE npc = ? AND length(vector) = ? AND embedder = ? ORDER BY likeness DESC LIMIT ?",
                (vector, self.npc, len(vector), self.embedder.name if self.embedder else "", _CANDIDATES),
            ).fetchall()
        return {int(row[0]): float(row[1]) for row in rows if row[1] is not None}

    def _read(self, where: str, values: Sequence[Any]) -> list[Experience]:
        with self.save.connection() as connection:
            rows: Any = connection.execute(
                "SELECT text, kind, speaker, cue, importance, time, present, turn, id FROM memories WHERE " + where,
                tuple(values),
            ).fetchall()
        return [
            Experience(text, kind, who, cue, weight, time, tuple(present.split("\n")) if present else (), turn, number)
            for text, kind, who, cue, weight, time, present, turn, number in rows
        ]


def _tidied(one: Experience) -> Experience:
    speaker = None if one.speaker is None else whole(one.speaker)
    cue = None if one.cue is None else whole(one.cue)
    return replace(one, text=tidy(one.text, MAX_EXPERIENCE), speaker=speaker, cue=cue)


def _delete(connection: apsw.Connection, ids: Sequence[int]) -> None:
    for number in ids:
        connection.execute("DELETE FROM memory_words WHERE rowid = ?", (number,))
        connection.execute("DELETE FROM memories WHERE id = ?", (number,))
