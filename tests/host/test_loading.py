"""A mod that cannot load is named in one sentence with the fix; the others load."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit.errors import ModError
from modkit.host import Host, on
from modkit.testing import load_mod, run_ticks

WriteMod = Callable[..., Path]


@pytest.mark.parametrize(
    ("toml", "script", "sentence"),
    [
        ("id = ", "", "not valid TOML"),
        ('name = "x"', "", "has no id"),
        ("id = 3", "", "id is 3, but must be a text"),
        ('id = "Not An Id"', "", 'as in id = "not_an_id"'),
        ('id = "x"\nentry = "start.py"', "", "'start.py' is not a file"),
        ('id = "x"\nentry = "../../x.py"', "", "is not a file in the mod's folder"),
        ('id = "x"\nversion = 1.0', "", "version is 1.0, but must be a text"),
        ('id = "good"', "", "has already"),
        ('id = "x"', "def f(:\n", "main.py line 2: invalid syntax"),
        ('id = "x"', "1 / 0", "line 2: ZeroDivisionError"),
        ('id = "x"', "import numpyy", "there is no module 'numpyy'"),
        ('id = "x"', "import helper", "write: from . import helper"),
        ('id = "x"', "raise SystemExit", "SystemExit"),
        ('id = "x"', '@on("go")\ndef go(mod):\n    pass', "cannot take"),
        ('id = "x"', "@every(0)\ndef go(mod):\n    pass", "number of seconds from 0.001"),
        ('id = "x"', '@on("")\ndef go(mod, event):\n    pass', "not empty"),
    ],
)
def test_a_broken_mod_is_named_with_the_fix_and_the_others_load(
    write_mod: WriteMod, mods: Path, toml: str, script: str, sentence: str
) -> None:
    write_mod("good", '@on("go")\ndef go(mod, event):\n    mod.emit("went")\n')
    write_mod("zz_broken", script, toml=toml, helper="")
    host = Host(mods)
    refused = [report for report in host.report.values() if report.state == "refused"]
    assert len(refused) == 1
    assert refused[0].folder.name == "zz_broken"
    assert sentence in (refused[0].problem or "")
    assert "\n" not in (refused[0].problem or "").strip() or "TOML" in sentence
    went: list[object] = []
    host.subscribe("went", went.append)
    host.emit("go")
    host.tick(0.1)
    assert len(went) == 1
    assert host.report["good"].state == "running"
    assert not [name for name in sys.modules if name.startswith("modkit_mod_") and not name.endswith("_good")]


def test_a_folder_without_a_manifest_is_told_what_to_add(mods: Path) -> None:
    (mods / "My Mod").mkdir()
    (mods / ".git").mkdir()
    (mods / "__pycache__").mkdir()
    report = Host(mods).report
    assert list(report) == ["My Mod"]
    assert 'id = "my_mod"' in (report["My Mod"].problem or "")


def test_of_two_mods_with_one_id_the_first_folder_stays(write_mod: WriteMod, mods: Path) -> None:
    write_mod("one", toml='id = "twin"')
    write_mod("twin", toml='id = "twin"')
    report = Host(mods).report
    assert (report["twin"].folder.name, report["twin"].state) == ("one", "running")
    refused = [r for r in report.values() if r.state == "refused"]
    assert [r.folder.name for r in refused] == ["twin"]
    assert str(mods / "one") in (refused[0].problem or "")


def test_the_manifest_keeps_keys_it_does_not_know(write_mod: WriteMod) -> None:
    folder = write_mod(
        "new",
        toml='id = "new"\nname = "New"\nversion = "2.1"\nicon = "x.png"\n[future.volume]\nmax = 3\n',
    )
    _, mod = load_mod(folder)
    assert (mod.name, mod.version) == ("New", "2.1")
    assert mod.manifest.extra == {"icon": "x.png", "future": {"volume": {"max": 3}}}


def test_each_mod_has_a_namespace_of_its_own_and_its_own_helpers(write_mod: WriteMod, mods: Path) -> None:
    for ident in ("a", "b"):
        write_mod(
            ident,
            """
            from . import helper
            from .helper import Note

            @on("go")
            def go(mod, event):
                mod.emit("says", text=helper.NAME, note=Note(mod.id).text)
            """,
            helper=f"""
            from __future__ import annotations
            from dataclasses import dataclass
            from modkit.host import on
            NAME = "helper of {ident}"

            @dataclass
            class Note:
                text: str

            @on("go")
            def also(mod, event):
                mod.emit("also", by=mod.id)
            """,
        )
    host = Host(mods)
    said: list[tuple[str, ...]] = []
    host.subscribe("*", lambda event: said.append(tuple(event.fields.values())))
    host.emit("go")
    host.tick(0.1)
    assert said == [("a",), ("helper of a", "a"), ("b",), ("helper of b", "b")]
    assert "helper" not in sys.modules and "main" not in sys.modules
    assert not list(mods.rglob("__pycache__"))


def test_no_name_leads_out_of_a_mods_folder(write_mod: WriteMod, mods: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("WORD = 'secret'")
    folder = write_mod("nosy")
    os.symlink(tmp_path / "secret.py", folder / "linked.py")
    _, mod = load_mod(folder)
    assert mod.path("data/notes.txt") == folder.resolve() / "data" / "notes.txt"
    for name in ("../../secret.py", "/etc/passwd", "linked.py", "a/../../../secret.py", "", "x\0y"):
        with pytest.raises(ModError):
            mod.path(name)
    write_mod("nosy", "from . import linked\n")
    with pytest.raises(ModError, match="linked"):
        load_mod(folder)


def test_decorators_outside_a_load_say_what_to_call_instead(write_mod: WriteMod, mods: Path) -> None:
    with pytest.raises(ModError, match=r"mod\.on\(name, fn\)"):
        on("go")(lambda mod, event: None)
    write_mod("late", '@on("go")\ndef go(mod, event):\n    on("x")(go)\n')
    host = Host(mods)
    host.emit("go")
    host.tick(0.1)
    assert "works only while a host loads" in (host.report["late"].last_error or "")


def test_a_mod_that_asks_for_an_npc_nobody_added_is_told_how(write_mod: WriteMod, mods: Path) -> None:
    write_mod("asks", '@on("go")\ndef go(mod, event):\n    mod.npc("sable")\n')
    host = Host(mods)
    host.emit("go")
    host.tick(0.1)
    assert "host.add_persona('sable'" in (host.report["asks"].last_error or "")
    host.add_persona("sable", "sable.persona")
    host.emit("go")
    host.tick(0.1)
    assert "no engine" in (host.report["asks"].last_error or "")


def test_load_mod_raises_what_a_host_would_report(write_mod: WriteMod) -> None:
    with pytest.raises(ModError, match="line 2: NameError"):
        load_mod(write_mod("typo", "nothing_of_the_kind\n"))
    host, mod = load_mod(write_mod("fine", '@every(1)\ndef beat(mod):\n    mod.emit("beat")\n'))
    beats: list[object] = []
    host.subscribe("beat", beats.append)
    run_ticks(host, 60)
    assert (mod.id, len(beats)) == ("fine", 1)
