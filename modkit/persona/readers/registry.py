"""The list of readers, and `@reader`, by which a format enters it.

A reader is a function that takes a `DumpFile` and a `Join` and yields lines. Where a format spreads
over files (names here, speech there), its `scan` sees every file first and leaves in the `Join` what
`read` will need. A reader parses; it never runs what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from modkit.persona.lines import Line
from modkit.persona.readers.source import DumpFile

__all__ = ["Join", "Reader", "all_readers", "best_reader", "reader", "reader_named"]


class Join:
    """What the files of one reading tell each other: one dict per topic, made when first asked for."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, object]] = {}

    def table(self, topic: str) -> dict[str, object]:
        """The dict shared under `topic`, such as "rpy.characters"."""
        return self._tables.setdefault(topic, {})

    def tables(self) -> dict[str, dict[str, object]]:
        """All of them, by topic."""
        return self._tables


Read = Callable[[DumpFile, Join], Iterable["Line | None"]]
Scan = Callable[[DumpFile, Join], None]
Sniff = Callable[[DumpFile], float]


@dataclass(frozen=True, slots=True)
class Reader:
    """One format. `records` says that the file is a table of records, where an equal record twice is one line."""

    name: str
    label: str
    extensions: tuple[str, ...]
    read: Read
    sniff: Sniff
    scan: Scan | None = None
    records: bool = False


_readers: dict[str, Reader] = {}


def reader(
    name: str,
    label: str,
    *,
    sniff: Sniff,
    extensions: Sequence[str] = (),
    scan: Scan | None = None,
    records: bool = False,
) -> Callable[[Read], Read]:
    """Register the decorated function as the reader of a format.

    `sniff(file)` looks at `file.head` and says how sure it is, 0.0 to 1.0: from 0.9 a signature no
    other format has, about 0.5 a likeness. An extension in `extensions` adds 0.2, so it decides
    between likenesses and never against a signature. The function may yield None, which is passed over.
    """

    def register(read: Read) -> Read:
        _readers[name] = Reader(name, label, tuple(extensions), read, sniff, scan, records)
        return read

    return register


def all_readers() -> tuple[Reader, ...]:
    """Every registered reader, in the order of registration."""
    return tuple(_readers.values())


def reader_named(name: str) -> Reader | None:
    """The registered reader of that name."""
    return _readers.get(name)


def best_reader(file: DumpFile) -> Reader | None:
    """The reader that is most sure of `file`, or None when none is."""
    best, best_score = None, 0.0
    for candidate in _readers.values():
        score = candidate.sniff(file)
        if score > 0 and file.suffix in candidate.extensions:
            score += 0.2
        if score > best_score:
            best, best_score = candidate, score
    return best if best_score >= 0.3 else None
