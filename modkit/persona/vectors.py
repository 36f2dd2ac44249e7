"""Meaning beside words: who makes vectors, how a `.persona` keeps them, how the nearest are found.

A vector is kept twice: its signs as bits, by which a scan finds a shortlist, and its numbers as int8, by which
the shortlist is put in order. Both through sqlite-vec's functions over plain tables, which measured faster than
its virtual table and take any filter. One vector of many sentences is near to none of them, so the sentences of a
line have vectors of their own, which only the shortlist is measured by: the scan is as long as without them.
Nothing here needs one certain embedder: `Embedder` is a protocol.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import apsw

from modkit.errors import EngineClosed, ModelError

if TYPE_CHECKING:
    from modkit.engine import Engine

__all__ = [
    "Embedder",
    "EngineEmbedder",
    "load_functions",
    "near",
    "open_embedder",
    "parts_of",
    "row_bytes",
    "store_parts",
    "store_vectors",
]

_log = logging.getLogger("modkit.persona")

_SHORTLIST = 4  # times as many by their bits as are wanted by their numbers
_LEAST = 160  # of a shortlist
_FLOAT = 4  # bytes
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])")
_LEAST_PART = 12  # bytes; "Oh, you!" says nothing by itself
_MOST_PARTS = 16  # of one line; a longer one is measured by several sentences at a time


@runtime_checkable
class Embedder(Protocol):
    """Makes vectors of texts. `name` and `dimensions` say whose vectors they are: only vectors of one embedder
    can be compared."""

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> memoryview[float]:
        """float32 rows of length 1, one for each text. May block; is called off the frame, by one thread at a time."""


class EngineEmbedder:
    """An embedding model in an engine of its own, so that no speech waits for it.

    `model` is a GGUF file. It is loaded at the first call, on the thread that calls, and later calls may come
    from any thread, one at a time. Raises ModelError or LibraryError from `embed` when it cannot be loaded.
    """

    def __init__(self, model: str | Path, threads: int | None = 1) -> None:
        self.path = Path(model)
        self.name = self.path.stem
        self.dimensions = 0  # until loaded
        self._threads = threads
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._closed = False

    def embed(self, texts: Sequence[str]) -> memoryview[float]:
        """float32 rows of length 1, one for each text. Blocks; from any thread, one at a time."""
        with self._lock:
            engine = self._ready()
            engine.attach()  # the lock makes this thread its owner for as long as it asks
            return engine.embed(list(texts)).result()

    def _ready(self) -> Engine:
        from modkit.engine import Engine

        if self._closed:
            raise EngineClosed(f"the embedder {self.name} was closed: open it again")
        if self._engine is None:
            engine = Engine(self.path, context=512, threads=self._threads)
            try:
                while engine.loading:
                    engine.tick()
                    time.sleep(0.001)
                engine.tick()
                self.dimensions = int(engine.info.get("embedding", 0))
                self.name = engine.name or self.name
            except BaseException:
                engine.close()
                raise
            self._engine = engine
        return self._engine

    def load(self) -> EngineEmbedder:
        """Load the model now (a blocking moment for a loading screen or a tool); returns itself."""
        with self._lock:
            self._ready()
        return self

    def close(self) -> None:
        """Free the model. May be called twice."""
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.attach()
                engine.close()

    def __enter__(self) -> EngineEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_embedder(choice: str | Path | None) -> EngineEmbedder | None:
    """What `--embedder` means: a GGUF file, "auto" for the installed one where there is one, "none".

    Raises ModelError when the file named does not exist. Loads nothing yet.
    """
    if choice is None or choice == "none":
        return None
    if choice == "auto":
        from modkit.native import embedder

        found = embedder.find()
        return EngineEmbedder(found) if found is not None else None
    path = Path(choice)
    if not path.is_file():
        raise ModelError(f"the embedder {path} does not exist: name a GGUF file, or run `modkit embedder install`")
    return EngineEmbedder(path)


def row_bytes(rows: memoryview[float], dimensions: int) -> list[bytes]:
    """The bytes of each row of float32."""
    flat = rows.cast("B")
    size = dimensions * _FLOAT
    return [bytes(flat[at : at + size]) for at in range(0, len(flat), size)]


def load_functions(connection: apsw.Connection) -> str | None:
    """Make sqlite-vec's functions known to `connection`; returns why that cannot be, None when they are."""
    try:
        import sqlite_vec

        connection.enable_load_extension(True)
        try:
            connection.load_extension(sqlite_vec.loadable_path())
        finally:
            connection.enable_load_extension(False)
    except (ImportError, apsw.Error, AttributeError, OSError) as error:
        return f"sqlite-vec cannot be used ({error})"
    return None


def store_vectors(connection: apsw.Connection, ids: Sequence[int], rows: Sequence[bytes]) -> None:
    """Keep float32 `rows` under the `ids` of their lines."""
    pairs = list(zip(ids, rows, strict=True))
    connection.executemany("INSERT INTO bits (id, b) VALUES (?, vec_quantize_binary(vec_f32(?)))", pairs)
    connection.executemany("INSERT INTO vectors (id, v) VALUES (?, vec_quantize_int8(vec_f32(?), 'unit'))", pairs)


def parts_of(text: str, alone: bool = True) -> list[str]:
    """The sentences of a line, when there are several; the whole line too unless its vector is of it `alone`."""
    sentences = [part for part in _SENTENCE_END.split(text) if len(part.encode("utf-8", "replace")) >= _LEAST_PART]
    at_once = -(-len(sentences) // _MOST_PARTS)
    if at_once > 1:
        sentences = [" ".join(sentences[at : at + at_once]) for at in range(0, len(sentences), at_once)]
    parts = [] if alone else [text]
    return [*parts, *(sentence for sentence in sentences if sentence != text)]


def store_parts(connection: apsw.Connection, places: Sequence[tuple[int, int]], row: bytes) -> None:
    """Keep the float32 `row` of a text that is a part of lines, at `places`: a line's number and the part's."""
    connection.executemany(
        "INSERT INTO parts (line, part, v) VALUES (?, ?, vec_quantize_int8(vec_f32(?), 'unit'))",
        [(line, part, row) for line, part in places],
    )


def near(
    connection: apsw.Connection, vector: bytes, k: int, where: str = "", values: Sequence[Any] = ()
) -> list[tuple[int, float]]:
    """(id, likeness up to 1.0) of the `k` lines nearest to a float32 `vector`, best first.

    A line is as near as it is itself or as its nearest part is. `where` is a condition over `id` with `values`; only
    rows that meet it are looked at.
    """
    shortlist = max(_LEAST, _SHORTLIST * k)
    likeness = "1.0 - vec_distance_cosine(vec_int8(v.v), vec_int8((SELECT v FROM q)))"
    # A persona of an early version has no parts.
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'parts'").fetchone():
        part = likeness.replace("v.v", "p.v")
        likeness = f"max({likeness}, coalesce((SELECT max({part}) FROM parts AS p WHERE p.line = s.id), -1.0))"
    found = connection.execute(
        "WITH q AS MATERIALIZED (SELECT vec_quantize_binary(vec_f32(?)) AS b, "
        "vec_quantize_int8(vec_f32(?), 'unit') AS v) "
        f"SELECT v.id, {likeness} AS likeness FROM "
        f"(SELECT id FROM bits {'WHERE ' + where if where else ''} "
        "ORDER BY vec_distance_hamming(vec_bit(b), vec_bit((SELECT b FROM q))) LIMIT ?) AS s "
        "JOIN vectors AS v ON v.id = s.id ORDER BY likeness DESC LIMIT ?",
        (vector, vector, *values, shortlist, k),
    ).fetchall()
    return [(int(row[0]), float(row[1])) for row in found if row[1] is not None]  # type: ignore[arg-type]
