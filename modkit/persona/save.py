"""`Save`: one SQLite file per save game, with what was said to every NPC, what each remembers of it (`mind.py`),
and room for the state of mods.

A copied file is the whole mind, so there is no second file at rest: the journal is SQLite's rollback
journal, which is gone between commits. Each turn is one transaction, synced; a kill at any moment
leaves the last committed turn.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw
import msgpack

from modkit.errors import SaveError
from modkit.native.replacing import replacing
from modkit.persona.lines import display_path, whole
from modkit.persona.store import sqlite_uri

__all__ = ["Save", "SavedTurn"]

APPLICATION_ID = 0x6D6B7376  # "mksv", in SQLite's header: what kind of file this is
FORMAT = 2  # 1 had no memories; it is read, and made this one when it is next opened
_MAGIC = b"SQLite format 3\0"
_BUSY_MS = 5000  # how long a commit waits for another connection's commit

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    npc TEXT NOT NULL,
    player TEXT NOT NULL,      -- under which name the player spoke
    words TEXT NOT NULL,       -- what the player said
    content TEXT NOT NULL,     -- what the model was given for it, memories and facts included
    reply TEXT NOT NULL,
    finish TEXT NOT NULL,
    model TEXT NOT NULL,       -- whose tokens these are
    tokens BLOB NOT NULL,      -- msgpack: the reply's token ids
    extra BLOB NOT NULL        -- msgpack: a map with stats, memories given, token count
);
CREATE INDEX turns_npc ON turns (npc, id);
CREATE TABLE mod_state (
    owner TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (owner, key)
) WITHOUT ROWID;
"""
# What came with format 2.
_MIND = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE memories (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    npc TEXT NOT NULL,
    kind TEXT NOT NULL,        -- heard, said, told (by a mod), summary
    speaker TEXT,
    text TEXT NOT NULL,
    cue TEXT,                  -- what the text answered
    importance REAL NOT NULL,  -- 0 to 1
    time REAL NOT NULL,        -- game time, in hours
    present TEXT NOT NULL,     -- who was there, a name a line
    turn INTEGER NOT NULL,     -- the turn it is of, 0 for none; of a summary, the last one in it
    vector BLOB,               -- float32, by the embedder of the persona
    embedder TEXT NOT NULL
);
CREATE INDEX memories_npc ON memories (npc, turn);
CREATE VIRTUAL TABLE memory_words USING fts5 (
    text, cue, content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TABLE minds (
    npc TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (npc, key)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class SavedTurn:
    """One turn as it is kept: the player's `words`, the `content` given to the model for them, the `reply`.

    `number` is its place in the file, 0 before it is there.
    """

    player: str
    words: str
    content: str
    reply: str
    finish: str
    model: str = ""
    tokens: tuple[int, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    number: int = field(default=0, compare=False)


class Save:
    """A save game's file. Made by `Save.open`.

    Every method reads or writes the disk and waits for it: in a game, call them off the frame
    (`engine.background`). Any thread may; one at a time gets in. Several NPCs and mods share one.
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self._connection: apsw.Connection | None = connection
        self._lock = threading.RLock()
        self._staged: dict[tuple[str, str], bytes | None] = {}
        self._staging = threading.Lock()  # held for a dict's update only: a frame must not wait for a disk

    @classmethod
    def in_memory(cls) -> Save:
        """A save without a file, for a mind that is not kept."""
        connection = apsw.Connection(":memory:")
        _begin(connection)
        return cls(Path(":memory:"), connection)

    @classmethod
    def open(cls, path: str | Path) -> Save:
        """Open a save, or begin a new one where there is no file.

        Raises SaveError when the file is damaged, read-only, from another version, no save at all, or in a folder
        that does not exist; the file is then left as it is.
        """
        path = Path(path)
        name = display_path(path)
        fresh = _is_fresh(path, name)
        try:
            if not fresh:
                _check(path, name)
            connection = apsw.Connection(os.fspath(path))
            try:
                if connection.readonly("main"):  # SQLite would say so at the first turn, when that is lost
                    raise SaveError(f"{name} is read-only: make it writable, or go on with a copy of it")
                connection.set_busy_timeout(_BUSY_MS)
                connection.execute(
                    "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; PRAGMA trusted_schema = OFF"
                )
                _begin(connection)
                connection.execute(
                    "SELECT npc, extra FROM turns LIMIT 1; SELECT value FROM mod_state LIMIT 1; "
                    "SELECT vector FROM memories LIMIT 1; SELECT value FROM minds LIMIT 1"
                ).fetchall()
            except BaseException:
                connection.close()
                raise
        except apsw.Error as error:
            raise _error(name, error) from error
        return cls(path, connection)

    def add_turn(self, npc: str, turn: SavedTurn) -> None:
        """Commit one turn of `npc`; when it returns, the turn survives a kill. Raises SaveError."""
        self.add_turns(npc, [turn])

    def add_turns(
        self, npc: str, turns: list[SavedTurn], also: Callable[[apsw.Connection, list[int]], object] | None = None
    ) -> list[int]:
        """Commit several turns of `npc` in one transaction; returns their numbers. Raises SaveError; then none is in.

        `also` writes what belongs to them, in the same transaction.
        """
        numbers: list[int] = []

        def add(connection: apsw.Connection) -> None:
            for turn in turns:
                connection.execute(
                    "INSERT INTO turns (npc, player, words, content, reply, finish, model, tokens, extra) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        npc, *map(whole, (turn.player, turn.words, turn.content, turn.reply, turn.finish, turn.model)),
                        msgpack.packb(list(turn.tokens)), msgpack.packb(dict(turn.extra), unicode_errors="replace"),
                    ),
                )  # fmt: skip
                numbers.append(connection.last_insert_rowid())
            if also is not None:
                also(connection, numbers)

        self.write(add)
        return numbers

    def turns(self, npc: str, last: int | None = None) -> list[SavedTurn]:
        """The committed turns of `npc`, oldest first: all, or the `last` so many. Raises SaveError."""
        with self.connection() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(
                "SELECT player, words, content, reply, finish, model, tokens, extra, id FROM turns "
                "WHERE npc = ? ORDER BY id DESC LIMIT ?",
                (npc, -1 if last is None else max(0, last)),
            ).fetchall()
        try:
            return [_turn(row) for row in reversed(rows)]
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise self._damaged(error) from error

    def turn_count(self, npc: str) -> int:
        """How many turns of `npc` are committed. Raises SaveError."""
        with self.connection() as connection:
            row: Any = connection.execute("SELECT count(*) FROM turns WHERE npc = ?", (npc,)).fetchone()
        return int(row[0])

    def get_state(self, owner: str, key: str) -> bytes | None:
        """The bytes that `owner` (a mod's id) put under `key`, or None. Raises SaveError."""
        with self.connection() as connection:
            row: Any = connection.execute(
                "SELECT value FROM mod_state WHERE owner = ? AND key = ?", (owner, key)
            ).fetchone()
        return bytes(row[0]) if row else None

    def state(self, owner: str) -> dict[str, bytes]:
        """Everything that `owner` keeps, by key. Raises SaveError."""
        with self.connection() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(
                "SELECT key, value FROM mod_state WHERE owner = ? ORDER BY key", (owner,)
            ).fetchall()
        return {key: bytes(value) for key, value in rows}

    def put_state(self, owner: str, values: Mapping[str, bytes | None]) -> None:
        """Keep `values` for `owner` in one transaction; None forgets a key. Raises SaveError."""

        self.write(lambda connection: _put(connection, {(owner, key): value for key, value in values.items()}))

    def stage(self, owner: str, values: Mapping[str, bytes | None]) -> None:
        """Keep `values` as `put_state` does, with the next transaction, whatever that is for; never waits.

        So what a mod keeps is committed together with the turn it belongs to. `commit` makes one of its own.
        Unlike every other method this may be called inside a frame. What is staged is not yet read by `state`.
        """
        with self._staging:
            self._staged.update({(owner, key): value for key, value in values.items()})

    def commit(self) -> None:
        """Commit what is staged; nothing to do when nothing is. Raises SaveError; then it stays staged."""
        with self._staging:
            if not self._staged:
                return
        self.write(lambda connection: None)

    def copy_to(self, path: str | Path) -> None:
        """Write a whole, consistent copy to `path`, replacing it in one step. Raises SaveError."""
        path = Path(path)
        try:
            with replacing(path) as temporary, self.connection() as connection:
                connection.execute("VACUUM INTO ?", (os.fspath(temporary),))
        except OSError as error:
            raise SaveError(f"{display_path(path)} cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file. May be called twice; what was committed is on the disk already."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __enter__(self) -> Save:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, work: Callable[[apsw.Connection], object]) -> None:
        """Do `work` in one transaction: all of it is in, or nothing. Raises SaveError."""
        with self.connection() as connection:
            with self._staging:
                staged, self._staged = self._staged, {}
            try:
                connection.execute("BEGIN IMMEDIATE")
                _put(connection, staged)
                work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with self._staging:
                    self._staged = {**staged, **self._staged}  # for the next one, unless there is newer
                if not connection.get_autocommit():
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """The connection, for reading, for as long as the block; errors in it become SaveError."""
        with self._lock:
            if self._connection is None:
                raise SaveError(f"{display_path(self.path)} was closed: open it again with Save.open")
            try:
                yield self._connection
            except apsw.Error as error:
                raise _error(display_path(self.path), error) from error

    def _damaged(self, error: BaseException) -> SaveError:
        return SaveError(f"{display_path(self.path)} is damaged ({error}): go back to an older save")


def _is_fresh(path: Path, name: str) -> bool:
    """Whether a new save begins here: no file, or an empty one, which a kill right at the beginning leaves."""
    try:
        if not path.exists():
            if not path.absolute().parent.is_dir():
                raise SaveError(f"{name} cannot be made: its folder does not exist")
            return True
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise SaveError(f"{name} cannot be opened: {error.strerror or error}") from error
    if head and head != _MAGIC:
        raise SaveError(f"{name} is not a save: it was left as it is; name another file")
    return not head


def _check(path: Path, name: str) -> None:
    """Look at an existing file before anything may write to it. A pending journal is SQLite's to roll back."""
    connection = apsw.Connection(sqlite_uri(path, mode="rw"), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        application, version = connection.pragma("application_id"), connection.pragma("user_version")
        if application == 0 and version == 0 and not connection.execute("SELECT 1 FROM sqlite_schema").fetchall():
            return  # a database that was begun and killed before its first commit
        if application != APPLICATION_ID:
            raise SaveError(f"{name} is a database, not a save: it was left as it is; name another file")
        if not 1 <= version <= FORMAT:
            raise SaveError(
                f"{name} has format {version}, this modkit reads format {FORMAT}: use the modkit it was made with"
            )
        verdict = connection.pragma("quick_check")
        if verdict != "ok":
            raise SaveError(f"{name} is damaged ({str(verdict)[:100]}): it was left as it is; go back to an older save")
    finally:
        connection.close()


def _begin(connection: apsw.Connection) -> None:
    """Make the tables where there are none, in one transaction; two processes may both try."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'turns'").fetchall():
            connection.execute(_SCHEMA)
            connection.execute("INSERT INTO meta (key, value) VALUES ('format', ?)", (str(FORMAT),))
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'memories'").fetchall():
            connection.execute(_MIND)
        connection.execute("COMMIT")
    finally:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")


def _put(connection: apsw.Connection, values: Mapping[tuple[str, str], bytes | None]) -> None:
    for (owner, key), value in values.items():
        if value is None:
            connection.execute("DELETE FROM mod_state WHERE owner = ? AND key = ?", (owner, key))
        else:
            connection.execute("REPLACE INTO mod_state (owner, key, value) VALUES (?, ?, ?)", (owner, key, value))


def _turn(row: tuple[Any, ...]) -> SavedTurn:
    player, words, content, reply, finish, model, tokens, extra, number = row
    kept = tuple(_unpack(tokens, list)), _unpack(extra, dict)
    return SavedTurn(player, words, content, reply, finish, model, *kept, number)


def _unpack(data: object, kind: type) -> Any:
    value = msgpack.unpackb(bytes(data) if isinstance(data, (bytes, memoryview)) else b"", strict_map_key=False)
    if not isinstance(value, kind):
        raise ValueError(f"expected {kind.__name__}")
    return value


def _error(name: str, error: apsw.Error) -> SaveError:
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return SaveError(f"{name} is in use by another program: close that one first")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)):
        return SaveError(f"{name} is damaged ({error}): it was left as it is; go back to an older save")
    return SaveError(f"{name} cannot be read or written ({error}): look at the disk and its permissions")
