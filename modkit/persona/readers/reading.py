"""One reading of a set of dump files: find, sniff, join, drop what is there twice, report what failed.

A `Reading` is iterated once, on one thread. What went wrong with a file is in `problems` afterwards;
the other files are read all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modkit.errors import DumpError
from modkit.persona.lines import Line, Names, fold
from modkit.persona.readers.cache import Entry, LineCache, fingerprint, version_of
from modkit.persona.readers.known import no_dialogue, why_not, why_not_text
from modkit.persona.readers.registry import Join, Reader, best_reader, reader_named
from modkit.persona.readers.source import DumpFile, display_path

__all__ = ["Problem", "Reading"]

MAX_FILES = 200_000
MAX_SEEN = 1_000_000  # lines remembered for dropping duplicates; what comes after is kept as it is


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was not read, or not wholly. `fatal` when nothing more came from it. `expected` when that is as it
    should be: a picture, sound, film or font in a folder of dialogue, or a compiled script beside the script itself."""

    file: str
    reason: str
    fatal: bool = True
    expected: bool = False

    def __str__(self) -> str:
        return self.reason if self.reason.startswith(self.file) else f"{self.file} {self.reason}"


@dataclass(slots=True)
class _Known:
    """A file and its reader; `entry` when it has not changed, `file` when it had to be opened."""

    path: Path
    reader: Reader
    file: DumpFile | None = None
    entry: Entry | None = None
    scan_error: str | None = None


class Reading:
    """The lines of files and folders, in the order given, folders in the order of their names.

    `aliases` joins spellings of a name (see `Names`). `progress` is called with a number from 0.0 to
    1.0 now and then. `cache` is a file in which what was read is kept, so that the next reading opens only files
    that have changed; `opened` counts those. Iterating raises DumpError only when a path does not exist or nothing was
    given.
    """

    def __init__(
        self,
        paths: Iterable[str | Path] | str | Path,
        *,
        aliases: Mapping[str, Iterable[str]] | None = None,
        progress: Callable[[float], None] | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.paths = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
        self.problems: list[Problem] = []
        self.files: list[tuple[str, str, int]] = []  # (name, reader, lines kept)
        self.duplicates = 0
        self.opened = 0
        self._cache_path = cache
        self._names = Names(aliases)
        self._progress = progress
        self._read_bytes = self._all_bytes = 0
        self._told = -1.0

    @property
    def failed(self) -> list[Problem]:
        """The problems because of which a file gave nothing, or not all it had."""
        return [problem for problem in self.problems if problem.fatal]

    def join_name(self, name: str) -> str:
        """`name` in the one spelling this reading uses for it."""
        return self._names.join(name) or name

    def __iter__(self) -> Iterator[Line]:
        cache = LineCache(self._cache_path) if self._cache_path is not None else None
        join = Join()
        known = list(self._open(cache))
        same = cache is not None and all(one.entry for one in known) and cache.knows_just(one.path for one in known)
        joined = None if same else self._scan(known, join)
        if joined is not None:
            for one in known:
                if one.entry is not None and one.entry.joined != joined:
                    one.entry = None  # what it is joined with has changed
        seen = _Seen()
        for one in known:
            yield from self._lines_of(one, join, joined or "", seen, cache)
        if cache is not None:
            cache.close(one.path for one in known)
        if self._progress is not None:
            self._progress(1.0)

    def _scan(self, known: list[_Known], join: Join) -> str:
        """Let every file that others are joined with say what it has to; returns what all told."""
        # Once for every scan and once for every read.
        self._all_bytes = sum(one.file.size * (2 if one.reader.scan else 1) for one in known if one.file is not None)
        for one in known:
            if one.reader.scan is None:
                continue
            try:
                one.file = one.file or self._opened(one.path)
                one.reader.scan(one.file, join)
            except DumpError as error:
                one.scan_error = str(error)  # read() meets the same damage, after it has given what stands before it
        return fingerprint(join) if self._cache_path is not None else ""

    def _lines_of(
        self, one: _Known, join: Join, joined: str, seen: _Seen, cache: LineCache | None
    ) -> Iterator[Line]:
        name = display_path(one.path)
        kept = 0
        warnings: list[str] = list(one.entry.warnings) if one.entry is not None else []
        try:
            rows: Iterable[Line | None]
            if one.entry is not None and cache is not None:
                rows = cache.lines(one.entry)
            else:
                file = one.file or self._opened(one.path)
                warnings = file.warnings
                rows = _until(one.reader.read(file, join), one.scan_error)
                rows = rows if cache is None else cache.keep(one.path, one.reader, joined, rows)
            for raw in rows:
                if raw is None:
                    continue
                line = self._names.apply(raw)
                if seen.before(line, one.reader.records):
                    self.duplicates += 1
                else:
                    kept += 1
                    yield line
            if cache is not None and one.entry is None and warnings:
                cache.warn(one.path, warnings)
        except DumpError as error:
            self.problems.append(Problem(name, str(error)))
        for warning in warnings[:3]:
            self.problems.append(Problem(name, f"{name}: {warning}", fatal=False))
        if len(warnings) > 3:
            more = len(warnings) - 3
            self.problems.append(Problem(name, f"{name}: {more} more like these", fatal=False))
        self.files.append((name, one.reader.name, kept))

    def _open(self, cache: LineCache | None) -> Iterator[_Known]:
        for path in self._walk():
            entry = cache.entry(path) if cache is not None else None
            reader = reader_named(entry.reader) if entry is not None else None
            if entry is not None and reader is not None and entry.version == version_of(reader):
                yield _Known(path, reader, entry=entry)
                continue
            try:
                file = self._opened(path)
            except DumpError as error:
                self.problems.append(Problem(display_path(path), str(error)))
                continue
            reason = why_not(file)
            reader = None if reason else best_reader(file)
            if reader is None:
                why = reason or why_not_text(file)
                expected = path not in self.paths and no_dialogue(file, why)
                self.problems.append(Problem(file.name, why, expected=expected))
            else:
                yield _Known(path, reader, file)

    def _opened(self, path: Path) -> DumpFile:
        self.opened += 1
        return DumpFile(path, self._advance)

    def _walk(self) -> Iterator[Path]:
        if not self.paths:
            raise DumpError("no dump was given: name at least one file or folder")
        seen: set[Path] = set()
        for path in self.paths:
            if not path.exists():
                raise DumpError(f"{display_path(path)} does not exist")
            for found in _files_below(path) if path.is_dir() else [path]:
                if found in seen:
                    continue
                seen.add(found)
                if len(seen) > MAX_FILES:
                    raise DumpError(f"{display_path(path)} holds more than {MAX_FILES:,} files: name a smaller folder")
                if found.is_file():
                    yield found
                else:  # a pipe or a device would never end
                    self.problems.append(Problem(display_path(found), "is not a regular file"))

    def _advance(self, count: int) -> None:
        self._read_bytes += count
        if self._progress is not None and self._all_bytes:
            share = min(1.0, self._read_bytes / self._all_bytes)
            if share - self._told >= 0.005:
                self._told = share
                self._progress(share)


def _until(rows: Iterable[Line | None], error: str | None) -> Iterator[Line | None]:
    """`rows`, and what was wrong with the file when it was scanned."""
    yield from rows
    if error is not None:
        raise DumpError(error)


def _files_below(folder: Path) -> Iterator[Path]:
    # Links are not followed: a link to a parent would be a folder without end.
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(root, name)


class _Seen:
    """Which lines were met before.

    By id: the same speaker says the same text under the same id. By text, where a line has no id: in
    another file, or again in the same scene of a table. A script may have its speaker say "Hm." twice.
    """

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._texts: dict[int, tuple[str, bool]] = {}
        self._records: set[int] = set()

    def before(self, line: Line, records: bool) -> bool:
        speaker = fold(line.speaker) if line.speaker else None
        text = hash((speaker, line.kind, line.lang, line.text.casefold()))
        identity = hash((text, line.id)) if line.id else None
        record = hash((text, line.scene, line.source.file)) if records and not line.id else None
        if (identity is not None and identity in self._ids) or (record is not None and record in self._records):
            return True
        first = self._texts.get(text)
        if first is not None and first[0] != line.source.file and not (line.id and first[1]):
            return True
        if len(self._texts) < MAX_SEEN:
            self._texts.setdefault(text, (line.source.file, line.id is not None))
            if identity is not None:
                self._ids.add(identity)
            if record is not None:
                self._records.add(record)
        return False
