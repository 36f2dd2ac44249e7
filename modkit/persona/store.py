"""The `.persona` file: one SQLite database, written once, opened read-only in play.

Tables: `meta` (key, value), `files` (what was read), `lines` (what the speaker said and heard, with the place
it was read from, and lore), `gates` (conditions under which lines come to mind), `words` (FTS5 over the text,
the cue it answered, the talk around it and the scene), `vocabulary` (in how many lines a word is), `bits`,
`vectors` and `parts` (see `vectors.py`; empty without an embedder). The file is written beside its final name and
renamed into place, so it is whole or it is not there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import apsw

from modkit.errors import PersonaError
from modkit.native.replacing import replacing
from modkit.persona.lines import Line, display_path

__all__ = ["FORMAT", "create", "open_readonly", "sqlite_uri"]

APPLICATION_ID = 0x6D6B7072  # "mkpr", in SQLite's header: what kind of file this is
FORMAT = 2
_MAGIC = b"SQLite format 3\0"

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT NOT NULL, reader TEXT NOT NULL, lines INTEGER NOT NULL);
CREATE TABLE lines (
    id INTEGER PRIMARY KEY,
    own INTEGER NOT NULL,          -- 1: said by the persona's speaker, 0: heard
    speaker TEXT, kind TEXT NOT NULL, scene TEXT, idx INTEGER NOT NULL, addressee TEXT, lang TEXT,
    dump_id TEXT, file TEXT NOT NULL, place TEXT NOT NULL, text TEXT NOT NULL,
    cue INTEGER REFERENCES lines (id), -- the line of another that this one answers
    gate INTEGER REFERENCES gates (id), -- none: always known
    quest TEXT,
    terms TEXT                         -- the words of the text and, after a tab, of the question it answered
);
CREATE INDEX lines_own ON lines (own, id);
-- How she talks, as `voice.describe` found it; `lines` are ids, apart by blanks.
CREATE TABLE voice (key TEXT PRIMARY KEY, kind TEXT NOT NULL, text TEXT NOT NULL, lines TEXT NOT NULL);
CREATE INDEX lines_gate ON lines (gate) WHERE gate IS NOT NULL;
CREATE TABLE gates (id INTEGER PRIMARY KEY, expression TEXT NOT NULL UNIQUE);
CREATE TABLE vocabulary (word TEXT PRIMARY KEY, lines INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE bits (id INTEGER PRIMARY KEY, b BLOB NOT NULL);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, v BLOB NOT NULL);
CREATE TABLE parts (
    line INTEGER NOT NULL, part INTEGER NOT NULL, v BLOB NOT NULL, PRIMARY KEY (line, part)
) WITHOUT ROWID;
-- Contentless: the words are indexed as `memory.index_words` spells them, the text is in `lines`.
CREATE VIRTUAL TABLE words USING fts5 (
    text, cue, near, scene, content = '', contentless_delete = 1,
    tokenize = 'porter unicode61 remove_diacritics 2'
);
"""


def sqlite_uri(path: Path, **parameters: str) -> str:
    """`path` as a SQLite URI, so that a name with ? or # in it means itself."""
    query = "&".join(f"{key}={value}" for key, value in parameters.items())
    absolute = path.absolute().as_posix()
    return f"file:{quote(absolute if absolute.startswith('/') else '/' + absolute)}?{query}"


@contextlib.contextmanager
def create(path: Path) -> Iterator[apsw.Connection]:
    """A new, empty persona database; when the block ends well it takes the place of `path` in one step.

    Raises PersonaError when it cannot be written; then `path` is as it was.
    """
    if not path.absolute().parent.is_dir():
        raise PersonaError(f"{display_path(path)} cannot be written: its folder does not exist; make it first")
    try:
        with replacing(path) as temporary:
            connection = apsw.Connection(os.fspath(temporary))
            try:
                # Nobody sees this file before it is whole, so it needs no journal; it is synced once, at the end.
                connection.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
                connection.execute(_SCHEMA)
                with connection:
                    yield connection
                connection.execute("INSERT INTO words (words) VALUES ('optimize'); VACUUM")
            finally:
                connection.close()
    except (OSError, apsw.Error) as error:
        raise PersonaError(f"{display_path(path)} cannot be written: {error}") from error


def open_readonly(path: Path) -> apsw.Connection:
    """A read-only connection for the calling thread. Raises PersonaError with the reason and what to do."""
    name = display_path(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise PersonaError(
            f"{name} cannot be opened: {error.strerror or error}; build it with `modkit persona build`"
        ) from error
    if head != _MAGIC:
        raise PersonaError(f"{name} is not a persona file: build one with `modkit persona build`")
    try:
        # Immutable: the file is only ever replaced whole, so no lock is taken and no journal looked for.
        connection = apsw.Connection(
            sqlite_uri(path, mode="ro", immutable="1"), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        application = connection.pragma("application_id")
        version = connection.pragma("user_version")
    except apsw.Error as error:
        raise PersonaError(f"{name} is damaged ({error}): build it again from its dumps") from error
    if application != APPLICATION_ID:
        connection.close()
        raise PersonaError(f"{name} is a database, not a persona file: build one with `modkit persona build`")
    if version != FORMAT:
        connection.close()
        raise PersonaError(
            f"{name} has format {version}, this modkit reads format {FORMAT}: build it again from its dumps"
        )
    return connection


INSERT_LINE = (
    "INSERT INTO lines (own, speaker, kind, scene, idx, addressee, lang, dump_id, file, place, text, cue, "
    "gate, quest, terms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def line_values(
    line: Line, own: bool, cue: int | None, gate: int | None = None, quest: str | None = None, terms: str | None = None
) -> tuple[object, ...]:
    """The values for `INSERT_LINE`."""
    return (
        int(own), line.speaker, line.kind, line.scene, line.index, line.addressee, line.lang, line.id,
        line.source.file, line.source.place, line.text, cue, gate, quest, terms,
    )  # fmt: skip
