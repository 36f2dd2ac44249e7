"""A file that is replaced in one step, whatever happens in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modkit.errors import CardError
from modkit.native.replacing import replace_with, replacing
from modkit.persona.cards import Card, write_card

DIE_IN_THE_MIDDLE = """
import os, sys
from pathlib import Path
from modkit.native.replacing import replacing

with replacing(Path(sys.argv[1])) as part:
    part.write_bytes(b"half of")
    os._exit(9)
"""


@pytest.mark.parametrize("before", [None, b"the old one"])
def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "a file?.txt"
    if before is not None:
        path.write_bytes(before)
    for mistake in (ValueError, KeyboardInterrupt):
        with pytest.raises(mistake), replacing(path) as part:
            assert part.parent == path.parent, "a rename works within one disk only"
            part.write_bytes(b"half of")
            raise mistake
        assert path.exists() == (before is not None)
        assert before is None or path.read_bytes() == before
        assert [found.name for found in tmp_path.iterdir()] == ([path.name] if before else [])
    replace_with(path, b"the new one")
    assert path.read_bytes() == b"the new one"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can say whether a process still lives")
def test_what_a_killed_writer_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    replace_with(path, b"the old one")
    killed = subprocess.run([sys.executable, "-c", DIE_IN_THE_MIDDLE, str(path)], check=False)
    assert killed.returncode == 9
    assert path.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 2
    alive = tmp_path / f".kept.txt.{os.getppid()}.tmp"
    alive.write_bytes(b"somebody else writes")
    with replacing(path) as part:
        assert sorted(tmp_path.iterdir()) == sorted([path, alive])
        part.write_bytes(b"the new one")
    assert path.read_bytes() == b"the new one" and alive.exists()


def test_a_last_step_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    taken = tmp_path / "a.json"
    taken.mkdir()
    with pytest.raises(OSError):
        replace_with(taken, b"{}")
    with pytest.raises(CardError, match="a.json cannot be written"):
        write_card(Card("Mara", "A ferrywoman."), taken)
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]
