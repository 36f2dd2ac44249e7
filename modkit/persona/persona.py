"""`Persona`: a built character, opened read-only."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import apsw

from modkit.errors import ModkitError, OptionError, PersonaError
from modkit.persona import store, vectors
from modkit.persona.gates import Gate, state_of
from modkit.persona.lines import Line, Source, display_path, fold
from modkit.persona.memory import Memory
from modkit.persona.recall import WORDS_WEIGHT, Filters, Retrieval, recall

if TYPE_CHECKING:
    from modkit.persona.voice import Said, Statement

__all__ = ["Persona"]

_DAMAGE = (apsw.Error, UnicodeDecodeError)  # what reading a damaged file raises; a text may not be UTF-8 any more
MAX_QUESTION = 4000  # characters that are looked at


class Persona:
    """A character: `name`, `card`, her lines, and what comes to her mind at a question. `len()` counts her lines.

    Made by `Persona.open`. May be used from any thread; each thread gets its own SQLite connection when
    it first asks. `ask` and `lines` read the file, so a game calls them off the frame (`NPC.say` does).
    Several NPCs may share one. `close()` closes every connection and may be called twice.
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self._connections = {threading.get_ident(): connection}
        self._lock = threading.Lock()
        self._closed = False
        try:
            self.meta: dict[str, str] = {
                str(key): str(value) for key, value in connection.execute("SELECT key, value FROM meta")
            }
            self.name, self.card = self.meta["speaker"], self.meta["card"]
            connection.execute("SELECT id, cue, gate, terms FROM lines LIMIT 1").fetchall()
            self._gates = _gates(connection)
            connection.execute("SELECT rowid FROM words LIMIT 1").fetchall()
        except (*_DAMAGE, KeyError) as error:
            raise self._damaged(error) from error
        self.gate_names = frozenset(name for gate in self._gates.values() if gate for name in gate.names)
        """what the gates ask of the game's state"""
        self.embedder = self.meta.get("embedder", "")
        """whose vectors are in the file, "" when there are none"""
        self._without_vectors: dict[int, str] = {}  # by thread: why sqlite-vec could not be loaded there
        players = self.meta.get("players", "").split("\n")
        self._players = frozenset(fold(player) for player in players if player)

    @classmethod
    def open(cls, path: str | Path) -> Persona:
        """Open a `.persona` file. Raises PersonaError when it is missing, damaged, or of another version."""
        path = Path(path)
        connection = store.open_readonly(path)
        try:
            return cls(path, connection)
        except PersonaError:
            connection.close()
            raise

    def ask(self, question: str, k: int = 3, **options: Any) -> list[Memory]:
        """The at most `k` (1 to 1000) lines nearest to `question`, best first; empty when none is near.

        `options` are those of `search`. Only what this speaker said, heard or knows comes back. Raises
        PersonaError when the file is damaged.
        """
        return self.search(question, k, **options).memories

    def search(
        self,
        question: str,
        k: int = 3,
        *,
        embedder: vectors.Embedder | None = None,
        state: Mapping[str, Any] | None = None,
        budget: int | None = None,
        speakers: Sequence[str] = (),
        kinds: Sequence[str] = (),
        scenes: Sequence[str] = (),
        quests: Sequence[str] = (),
        langs: Sequence[str] = (),
        words_weight: float = WORDS_WEIGHT,
    ) -> Retrieval:
        """As `ask`, with how it was found out.

        With an `embedder`, the one the persona was built with, lines are found by meaning too; it is called here and
        may take milliseconds. `state` is the game's: what is behind a gate that it does not open is not looked at
        (default: nothing has happened). `budget` bounds the tokens of all memories together. The other options
        keep only lines of these speakers, kinds, scenes, quests and languages. `words_weight` is what the
        order by words counts beside that by meaning; 0 leaves it out. Raises OptionError, and PersonaError when the
        file is damaged.
        """
        if not isinstance(question, str):
            raise OptionError(f"a question is a str, not {type(question).__name__}")
        if not 1 <= k <= 1000:
            raise OptionError(f"k must be from 1 to 1000, not {k!r}")
        for name, given in (("speakers", speakers), ("kinds", kinds), ("scenes", scenes), ("quests", quests)):
            if isinstance(given, str):
                raise OptionError(f"{name} is a list: write {name}=[{given!r}]")
        filters = Filters(
            tuple(speakers), tuple(kinds), tuple(scenes), tuple(quests), tuple(langs), self._closed_gates(state or {})
        )
        connection = self._connection()
        try:
            vector, reason = self._vector(question, embedder, connection)
            found = recall(connection, question, k, self._players, filters, vector, budget, words_weight)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        found.reason = reason
        return found

    def _closed_gates(self, state: Mapping[str, Any]) -> tuple[int, ...]:
        """A gate that cannot be read is closed: better silent than too early."""
        known = state_of(state, self.gate_names)
        return tuple(number for number, gate in self._gates.items() if gate is None or not gate.open(known))

    def _vector(
        self, question: str, embedder: vectors.Embedder | None, connection: apsw.Connection
    ) -> tuple[bytes | None, str]:
        """The question's vector, or why there is none."""
        if embedder is None:
            return None, "no embedder was given"
        if not self.embedder:
            return None, "the persona was built without an embedder"
        thread = threading.get_ident()
        if thread not in self._without_vectors:
            self._without_vectors[thread] = vectors.load_functions(connection) or ""
        if self._without_vectors[thread]:
            return None, self._without_vectors[thread]
        if not question.strip():
            return None, "the question is empty"
        try:
            rows = embedder.embed([question[:MAX_QUESTION]])
        except ModkitError as error:
            return None, str(error)
        if embedder.name != self.embedder:
            return None, f"the vectors are by {self.embedder}, not by {embedder.name}: build again with that one"
        return bytes(rows.cast("B")), ""

    def lines(self, *, heard: bool = False) -> Iterator[Line]:
        """Her lines in the order of the dumps, gated ones included; with `heard`, also what others said to her.

        Read from the file as they are asked for. Raises PersonaError when it is damaged.
        """
        return (line for line, _ in self._lines_and_gates(heard))

    def _lines_and_gates(self, heard: bool) -> Iterator[tuple[Line, bool]]:
        """As `lines`; each with whether it is behind a gate."""
        try:
            rows: Any = self._connection().execute(
                "SELECT text, speaker, kind, scene, idx, addressee, lang, file, place, dump_id, gate IS NOT NULL "
                "FROM lines WHERE own >= ? AND kind <> 'lore' ORDER BY id",
                (0 if heard else 1,),
            )
            for text, speaker, kind, scene, index, addressee, lang, file, place, dump_id, gated in rows:
                line = Line(text, speaker, kind, scene, index, addressee, lang, Source(file, place), dump_id)
                yield line, bool(gated)
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def voice(self) -> list[Statement]:
        """How she talks: statements that name the lines they rest on; empty for a file of an early version.

        Reads the file; raises PersonaError when it is damaged.
        """
        from modkit.persona.voice.statements import Statement

        try:
            rows: Any = self._connection().execute("SELECT key, kind, text, lines FROM voice ORDER BY rowid").fetchall()
            return [Statement(key, kind, text, tuple(int(n) for n in lines.split())) for key, kind, text, lines in rows]
        except apsw.SQLError:
            return []
        except (*_DAMAGE, ValueError) as error:
            raise self._damaged(error) from error

    def said(self) -> list[tuple[Said, str]]:
        """Her lines with their ids, what they answered, and the place each was read from; none that is behind a gate.

        Reads the file; raises PersonaError when it is damaged.
        """
        try:
            from modkit.persona.voice.said import own_lines

            return own_lines(self._connection())
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def __len__(self) -> int:
        try:
            row: Any = self._connection().execute("SELECT count(*) FROM lines WHERE own = 1").fetchone()
        except _DAMAGE as error:
            raise self._damaged(error) from error
        return int(row[0])

    def __repr__(self) -> str:
        return f"<Persona {self.name!r} from {display_path(self.path)}>"

    def close(self) -> None:
        """Close every connection. Nothing may be asking at this moment; what asks later gets PersonaError."""
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.close()

    def __enter__(self) -> Persona:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connection(self) -> apsw.Connection:
        thread = threading.get_ident()
        with self._lock:
            if self._closed:
                raise PersonaError(f"the persona {self.name} was closed: open it again")
            connection = self._connections.get(thread)
        if connection is None:
            connection = store.open_readonly(self.path)
            with self._lock:
                self._connections[thread] = connection
        return connection

    def _damaged(self, error: BaseException) -> PersonaError:
        return PersonaError(f"{display_path(self.path)} is damaged ({error}): build it again from its dumps")


def _gates(connection: apsw.Connection) -> dict[int, Gate | None]:
    gates: dict[int, Gate | None] = {}
    rows: Any = connection.execute("SELECT id, expression FROM gates")
    for number, expression in rows:
        try:
            gates[int(number)] = Gate.parse(str(expression))
        except OptionError:  # the build checks them; this file was changed by hand
            gates[int(number)] = None
    return gates
