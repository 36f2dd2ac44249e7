"""The save: what was committed is there, whatever happens to the process or the file."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import apsw
import pytest

from modkit.errors import SaveError
from modkit.persona import Save, SavedTurn
from modkit.persona.save import FORMAT

ROOT = Path(__file__).resolve().parents[2]


def turn(n: int) -> SavedTurn:
    return SavedTurn("Player", f"words {n}", f"Player: words {n}", f"reply {n}", "stop", "m.gguf", (n, 2), {"n": n})


def test_turns_come_back_as_they_were_in_order_and_by_npc(tmp_path: Path) -> None:
    with Save.open(tmp_path / "a.save") as save:
        for n in range(3):
            save.add_turn("Mara", turn(n))
            save.add_turn("Tobin", turn(n + 10))
    with Save.open(tmp_path / "a.save") as save:
        assert save.turns("Mara") == [turn(0), turn(1), turn(2)]
        assert save.turns("Tobin") == [turn(10), turn(11), turn(12)]
        assert save.turns("Edda") == []


def test_mods_keep_bytes_by_owner_and_key(tmp_path: Path) -> None:
    with Save.open(tmp_path / "a.save") as save:
        save.put_state("harbour", {"count": b"\x07", "old": b"x"})
        save.put_state("tavern", {"count": b"\x08"})
        save.put_state("harbour", {"old": None, "new": b""})
    with Save.open(tmp_path / "a.save") as save:
        assert save.state("harbour") == {"count": b"\x07", "new": b""}
        assert save.get_state("tavern", "count") == b"\x08"
        assert save.get_state("tavern", "nothing") is None


def test_a_transaction_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    with Save.open(tmp_path / "a.save") as save:
        with pytest.raises(TypeError):
            save.put_state("harbour", {"a": b"1", "b": object()})  # type: ignore[dict-item]
        assert save.state("harbour") == {}
        save.put_state("harbour", {"a": b"2"})
        assert save.state("harbour") == {"a": b"2"}


def test_at_rest_a_save_is_one_file_and_a_copy_of_it_is_the_whole_mind(tmp_path: Path) -> None:
    (tmp_path / "saves").mkdir()
    with Save.open(tmp_path / "saves" / "a.save") as save:
        save.add_turn("Mara", turn(0))
        assert [path.name for path in (tmp_path / "saves").iterdir()] == ["a.save"]
        shutil.copy(tmp_path / "saves" / "a.save", tmp_path / "older.save")
        save.copy_to(tmp_path / "copied.save")
        save.add_turn("Mara", turn(1))
    for name in ("older.save", "copied.save"):
        with Save.open(tmp_path / name) as older:
            assert older.turns("Mara") == [turn(0)]  # nothing said later leaks in


def test_several_connections_to_one_save_take_turns(tmp_path: Path) -> None:
    saves = [Save.open(tmp_path / "a.save") for _ in range(3)]

    def write(save: Save, npc: str) -> None:
        for n in range(10):
            save.add_turn(npc, turn(n))

    threads = [threading.Thread(target=write, args=(save, f"npc{n}")) for n, save in enumerate(saves)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(saves[0].turns(f"npc{n}")) for n in range(3)] == [10, 10, 10]
    for save in saves:
        save.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is a text file, not a save\n" * 10, "is not a save"),
        (b"SQLite format 3\0" + b"\x5a" * 5000, "is damaged"),
        (b"\x89PNG", "is not a save"),
    ],
)
def test_what_is_no_save_is_refused_and_left_alone(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.save"
    path.write_bytes(content)
    with pytest.raises(SaveError, match=reason):
        Save.open(path)
    assert path.read_bytes() == content


def test_a_persona_or_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.save"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE turns (id)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SaveError, match="a database, not a save"):
        Save.open(path)
    assert path.read_bytes() == before
    Save.open(tmp_path / "b.save").close()
    connection = apsw.Connection(str(tmp_path / "b.save"))
    connection.pragma("user_version", FORMAT + 1)
    connection.close()
    before = (tmp_path / "b.save").read_bytes()
    with pytest.raises(SaveError, match=f"has format {FORMAT + 1}"):
        Save.open(tmp_path / "b.save")
    assert (tmp_path / "b.save").read_bytes() == before


def test_a_missing_folder_and_a_folder_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="folder does not exist"):
        Save.open(tmp_path / "no" / "a.save")
    with pytest.raises(SaveError, match="cannot be opened"):
        Save.open(tmp_path)


def test_an_empty_file_is_a_new_save(tmp_path: Path) -> None:
    (tmp_path / "a.save").touch()
    with Save.open(tmp_path / "a.save") as save:
        save.add_turn("Mara", turn(0))
        assert save.turns("Mara") == [turn(0)]


def test_a_damaged_save_is_refused_or_read_and_never_changed_by_looking(tmp_path: Path) -> None:
    with Save.open(tmp_path / "whole.save") as save:
        for n in range(60):
            save.add_turn("Mara", turn(n))
    whole = (tmp_path / "whole.save").read_bytes()
    rng = random.Random(7)
    refused = 0
    for _ in range(60):
        at = rng.randrange(len(whole))
        damaged = whole[:at] if rng.random() < 0.4 else whole[:at] + b"\xa5" * 64 + whole[at + 64 :]
        path = tmp_path / "damaged.save"
        path.write_bytes(damaged)
        try:
            with Save.open(path) as save:
                save.turns("Mara")
        except SaveError as error:
            refused += 1
            assert str(error).startswith(str(path))
        assert path.read_bytes() == damaged or not damaged  # an empty file is a new save
    assert refused > 20


def test_a_closed_save_says_so(tmp_path: Path) -> None:
    save = Save.open(tmp_path / "a.save")
    save.close()
    save.close()
    with pytest.raises(SaveError, match="was closed"):
        save.turns("Mara")


_WRITER = """
import sys
from modkit.persona.save import Save, SavedTurn
save = Save.open(sys.argv[1])
n = len(save.turns("Mara"))
print("ready", flush=True)
while True:
    save.add_turn("Mara", SavedTurn("Player", f"words {n}", "c" * (n * 37 % 9000), f"reply {n}", "stop"))
    print(n, flush=True)
    n += 1
"""


def test_a_kill_at_any_moment_leaves_every_committed_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.save"
    rng = random.Random(11)
    committed = -1
    for _ in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        for _ in range(rng.randint(0, 8)):
            committed = int(writer.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.01))  # somewhere inside the next commit
        writer.kill()  # SIGKILL: nothing can be tidied up
        whole = writer.stdout.read().split("\n")[:-1]  # what comes after the last newline may be half written
        committed = max([committed, *map(int, filter(None, whole))])
        writer.wait()
        writer.stdout.close()
        with Save.open(path) as save:
            turns = save.turns("Mara")
        assert len(turns) >= committed + 1
        assert [each.words for each in turns] == [f"words {n}" for n in range(len(turns))]
        assert all(len(each.content) == n * 37 % 9000 for n, each in enumerate(turns))
        connection = apsw.Connection(str(path))
        assert connection.pragma("integrity_check") == "ok"
        connection.close()
    assert committed > 20


READ_ONLY = """
import os, sys
from modkit.errors import SaveError
from modkit.persona import Save

if os.geteuid() == 0:  # nothing is read-only to root
    os.setuid(65534)
try:
    Save.open(sys.argv[1])
except SaveError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_read_only_save_is_said_before_a_turn_is_lost() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to the user that the child becomes
        path = Path(folder) / "a.save"
        with Save.open(path) as save:
            save.add_turn("Mara", turn(1))
        path.chmod(0o444)
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    assert "is read-only: make it writable" in done.stdout, done.stderr
