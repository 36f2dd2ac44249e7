"""A rebuild opens only what has changed, and gives what a build from nothing gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modkit.persona import DumpFile, Persona, Reading, build
from modkit.persona.readers import source
from tests.persona.support import text_file


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that readers open."""
    names: list[str] = []
    make = source.DumpFile.__init__

    def spy(self: DumpFile, path: Path, *rest: object) -> None:
        names.append(path.name)
        make(self, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(source.DumpFile, "__init__", spy)
    return names


def dumps(folder: Path) -> Path:
    (folder / "dump").mkdir()
    for n in range(5):
        rows = f"# Scene {n}\nTobin: What is {n}?\nMara: {n} is my number, and it stays.\n"
        text_file(folder / "dump", f"{n}.txt", rows)
    return folder / "dump"


def said(path: Path) -> list[tuple[object, ...]]:
    with Persona.open(path) as persona:
        return [(line.speaker, line.text, line.scene, line.source) for line in persona.lines(heard=True)]


def test_only_changed_new_and_never_unchanged_files_are_opened(tmp_path: Path, opened: list[str]) -> None:
    folder, out, cache = dumps(tmp_path), tmp_path / "m.persona", tmp_path / "b.cache"
    assert build([folder], "Mara", out, cache=cache).opened == 5
    first = said(out)
    opened.clear()
    report = build([folder], "Mara", out, cache=cache)
    assert (report.opened, opened, report.own) == (0, [], 5)
    assert said(out) == first
    text_file(folder, "3.txt", "# Scene 3\nMara: Three is gone for good.\n")
    text_file(folder, "9.txt", "# Scene 9\nMara: Nine has come to stay.\n")
    (folder / "0.txt").unlink()
    build([folder], "Mara", out, cache=cache)
    assert sorted(opened) == ["3.txt", "9.txt"]
    changed = said(out)
    build([folder], "Mara", out)
    assert said(out) == changed
    assert "Three is gone for good." in [row[1] for row in changed]
    assert not any("0 is my number" in str(row[1]) for row in changed)


def test_what_joins_files_is_read_again_when_it_has_changed(tmp_path: Path, opened: list[str]) -> None:
    folder, cache = tmp_path / "game", tmp_path / "b.cache"
    folder.mkdir()
    text_file(folder, "characters.rpy", 'define m = Character("Mara")\n')
    text_file(folder, "script.rpy", 'label start:\n    m "The tide is late."\n')
    text_file(folder, "other.txt", "Tobin: I am no script.\nEdda: Nor am I.\n")
    read = lambda: [(line.speaker, line.text) for line in Reading([folder], cache=cache)]  # noqa: E731
    assert ("Mara", "The tide is late.") in read()
    opened.clear()
    assert ("Mara", "The tide is late.") in read()
    assert opened == []
    text_file(folder, "characters.rpy", 'define m = Character("Marabel")\n')
    assert ("Marabel", "The tide is late.") in read()


def test_a_cache_that_is_damaged_or_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    folder, cache = dumps(tmp_path), tmp_path / "b.cache"
    build([folder], "Mara", tmp_path / "m.persona", cache=cache)
    whole = cache.read_bytes()
    for damaged in (b"", b"no database", whole[: len(whole) // 2], whole[:2000] + b"\xa5" * 400 + whole[2400:]):
        cache.write_bytes(damaged)
        assert build([folder], "Mara", tmp_path / "m.persona", cache=cache).own == 5
    text_file(tmp_path, "file", "x")
    assert build([folder], "Mara", tmp_path / "m.persona", cache=tmp_path / "file" / "b.cache").own == 5


def test_warnings_come_again_from_the_cache(tmp_path: Path) -> None:
    folder, cache = tmp_path / "dump", tmp_path / "b.cache"
    folder.mkdir()
    text_file(folder, "long.txt", "Mara: Hello there.\nTobin: " + "x" * (1 << 20) + "\nMara: Still here.\n")
    first = [str(problem) for problem in _problems(folder, cache)]
    assert first and [str(problem) for problem in _problems(folder, cache)] == first


def _problems(folder: Path, cache: Path) -> list[object]:
    reading = Reading([folder], cache=cache)
    assert len(list(reading)) >= 2
    return list(reading.problems)


def test_a_file_of_the_same_size_with_another_time_is_read(tmp_path: Path) -> None:
    folder, out, cache = dumps(tmp_path), tmp_path / "m.persona", tmp_path / "b.cache"
    build([folder], "Mara", out, cache=cache)
    path = folder / "2.txt"
    before = path.stat()
    path.write_text(path.read_text().replace("2 is", "7 is"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    assert build([folder], "Mara", out, cache=cache).opened == 1
    assert any("7 is my number" in str(row[1]) for row in said(out))
