"""What the readers found in files that have not changed since: so that a rebuild opens only those that have.

A SQLite file of the user's own, thrown away without harm. A file is unchanged when its size and its time are; where
formats join files (names here, speech there), what was read counts only while the joined tables are the same.
Belongs to one reading and its thread. Nothing here raises: a cache that cannot be used is not used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import msgpack

from modkit.persona.lines import Line, Source
from modkit.persona.readers.registry import Join, Reader

__all__ = ["Entry", "LineCache", "fingerprint"]

_log = logging.getLogger("modkit.persona")

FORMAT = 1
_CHUNK = 5000  # lines in one block
_SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER, time INTEGER, reader TEXT, version TEXT, joined TEXT, warnings BLOB
) WITHOUT ROWID;
CREATE TABLE blocks (path TEXT, n INTEGER, lines BLOB, PRIMARY KEY (path, n)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Entry:
    """A file that has not changed: which reader took it, and over which joined tables."""

    path: Path
    reader: str
    version: str
    joined: str
    warnings: tuple[str, ...]


class LineCache:
    """Opened on `path`, which is made when it is not there."""

    def __init__(self, path: str | Path) -> None:
        self.hits = self.misses = 0
        self._connection: apsw.Connection | None = None
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = self._open(path)
            except apsw.Error:
                path.unlink(missing_ok=True)
                self._connection = self._open(path)
            self._connection.execute("BEGIN IMMEDIATE")
        except (apsw.Error, OSError) as error:
            _log.info("the build cache %s is not used: %s", path, error)
            self._drop()

    @staticmethod
    def _open(path: Path) -> apsw.Connection:
        connection = apsw.Connection(os.fspath(path))
        try:
            connection.execute("PRAGMA synchronous = OFF")
            if connection.pragma("user_version") != FORMAT:
                if connection.execute("SELECT 1 FROM sqlite_schema").fetchall():
                    raise apsw.SchemaChangeError("another version's cache")
                connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def entry(self, path: Path) -> Entry | None:
        """What is known of `path`, when it has not changed."""
        try:
            state = path.stat()
            row: Any = self._ask(
                "SELECT reader, version, joined, warnings FROM files WHERE path = ? AND size = ? AND time = ?",
                (_key(path), state.st_size, state.st_mtime_ns),
            )
            if row:
                return Entry(path, row[0][0], row[0][1], row[0][2], tuple(msgpack.unpackb(row[0][3])))
        except (OSError, ValueError, TypeError, msgpack.UnpackException):
            pass
        return None

    def knows_just(self, paths: Iterable[Path]) -> bool:
        """Whether these are all the files there were the last time."""
        rows = self._ask("SELECT path FROM files", ())
        return {row[0] for row in rows} == {_key(path) for path in paths}

    def lines(self, entry: Entry) -> Iterator[Line]:
        """The lines that were found in the file of `entry`."""
        self.hits += 1
        for (block,) in self._ask("SELECT lines FROM blocks WHERE path = ? ORDER BY n", (_key(entry.path),)):
            for row in msgpack.unpackb(zlib.decompress(block), max_array_len=_CHUNK + 1):
                text, speaker, kind, scene, index, addressee, lang, file, place, identity = row
                yield Line(text, speaker, kind, scene, index, addressee, lang, Source(file, place), identity)

    def keep(self, path: Path, reader: Reader, joined: str, lines: Iterable[Line | None]) -> Iterator[Line]:
        """Hands on `lines`, and keeps them when they end well."""
        self.misses += 1
        size, time = -1, -1
        with contextlib.suppress(OSError):
            size, time = path.stat().st_size, path.stat().st_mtime_ns
        self._ask("DELETE FROM blocks WHERE path = ?", (_key(path),))
        self._ask("DELETE FROM files WHERE path = ?", (_key(path),))
        block: list[Any] = []
        number = 0
        for line in lines:
            if line is None:
                continue
            block.append((
                line.text, line.speaker, line.kind, line.scene, line.index, line.addressee, line.lang,
                line.source.file, line.source.place, line.id,
            ))  # fmt: skip
            if len(block) == _CHUNK:
                self._write(path, number, block)
                block, number = [], number + 1
            yield line
        self._write(path, number, block)
        self._ask(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_key(path), size, time, reader.name, version_of(reader), joined, msgpack.packb([])),
        )

    def warn(self, path: Path, warnings: Iterable[str]) -> None:
        """Keep what a reader warned of."""
        self._ask("UPDATE files SET warnings = ? WHERE path = ?", (msgpack.packb(list(warnings)), _key(path)))

    def close(self, paths: Iterable[Path]) -> None:
        """Commit, with what is known of other files than these forgotten."""
        keys = {_key(path) for path in paths}
        for (path,) in self._ask("SELECT path FROM files", ()):
            if path not in keys:
                self._ask("DELETE FROM files WHERE path = ?", (path,))
                self._ask("DELETE FROM blocks WHERE path = ?", (path,))
        self._ask("COMMIT", ())
        self._drop()

    def _write(self, path: Path, number: int, block: list[Any]) -> None:
        packed = zlib.compress(msgpack.packb(block, unicode_errors="surrogatepass"), 1)
        self._ask("INSERT INTO blocks VALUES (?, ?, ?)", (_key(path), number, packed))

    def _ask(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(sql, values).fetchall()
        except apsw.Error as error:
            _log.info("the build cache is not used any more: %s", error)
            self._drop()
            return []

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def version_of(reader: Reader) -> str:
    """Of a reader's code: what another version of it read is read again."""
    import modkit

    code = getattr(getattr(reader.read, "__code__", None), "co_code", b"")
    return f"{getattr(modkit, '__version__', '0')}/{zlib.crc32(code):08x}"


def fingerprint(join: Join) -> str:
    """Of what the files of a reading told each other."""
    import hashlib  # it brings OpenSSL along, 3.5 MB that a game which only plays need not have

    tables = sorted((name, sorted(table.items(), key=lambda item: item[0])) for name, table in join.tables().items())
    return hashlib.blake2b(repr([table for table in tables if table[1]]).encode("utf-8", "replace")).hexdigest()[:32]


def _key(path: Path) -> str:
    return os.fsencode(path.absolute()).decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode("utf-8")
