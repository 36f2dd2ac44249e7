"""Settings are typed and in range; permissions are stated, granted and checked; files stay inside; zips are safe."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit.errors import ModError, OptionError
from modkit.host import Host
from modkit.host import folder as folder_module
from modkit.testing import load_mod

WriteMod = Callable[..., Path]

SETTINGS = """
id = "hum"
[settings.volume]
type = "float"
default = 0.5
min = 0
max = 1
[settings.tune]
type = "text"
default = "slow"
choices = ["slow", "quick"]
scope = "startup"
[settings.times]
type = "int"
default = 3
scope = "save"
"""
HUM = """
@on("setting")
def changed(mod, event):
    mod.emit("changed", key=event.key, value=event.value, before=event.before, now=mod.settings[event.key])
"""


def test_the_game_changes_a_setting_and_the_mod_hears_of_it(write_mod: WriteMod, mods: Path) -> None:
    write_mod("hum", HUM, toml=SETTINGS)
    write_mod("other", HUM)
    host = Host(mods, settings={"hum": {"volume": 1, "tune": "quick", "from_the_future": 3}})
    heard: list[dict[str, object]] = []
    host.subscribe("changed", lambda event: heard.append({"by": event.source, **event.fields}))
    hum = host.mods[0]
    assert dict(hum.settings) == {"volume": 1.0, "tune": "quick", "times": 3}
    host.set("hum", "volume", 0.25)
    host.set("hum", "volume", 0.25)
    host.tick(0.1)
    assert heard == [{"by": "hum", "key": "volume", "value": 0.25, "before": 1.0, "now": 0.25}]
    for name, value, sentence in (
        ("volume", 2, "a number from 0 up to 1"),
        ("volume", "loud", "a number"),
        ("tune", "slow", "read at startup"),
        ("pitch", 1, "not a setting of this mod"),
    ):
        with pytest.raises(OptionError, match=sentence):
            host.set("hum", name, value)
    with pytest.raises(TypeError):
        hum.settings["volume"] = 1  # type: ignore[index]
    with pytest.raises(KeyError, match="declared: volume, tune, times"):
        hum.settings["pitch"]


def test_a_value_that_does_not_fit_leaves_the_default_and_a_notice(write_mod: WriteMod, mods: Path) -> None:
    write_mod("hum", HUM, toml=SETTINGS)
    host = Host(mods, settings={"hum": {"volume": 7}})
    assert host.mods[0].settings["volume"] == 0.5
    assert "cannot be 7" in (host.report["hum"].notice or "")


def test_a_setting_of_the_save_lies_in_the_save(write_mod: WriteMod, mods: Path, tmp_path: Path) -> None:
    write_mod("hum", HUM, toml=SETTINGS)
    with Host(mods, save=tmp_path / "a.save") as host:
        host.set("hum", "times", 9)
        host.set("hum", "volume", 0.1)
    with Host(mods, save=tmp_path / "a.save") as host:
        assert dict(host.mods[0].settings) == {"volume": 0.5, "tune": "slow", "times": 9}
    with Host(mods, save=tmp_path / "b.save") as host:
        assert host.mods[0].settings["times"] == 3


def test_a_permission_is_asked_for_granted_and_checked(write_mod: WriteMod, mods: Path) -> None:
    write_mod("writer", toml='id = "writer"\npermissions = ["files", "network"]')
    write_mod("reader")
    host = Host(mods)
    assert [mod.allows("files") for mod in host.mods] == [False, True]
    with pytest.raises(ModError, match=r'permissions = \["network"\]'):
        host.mods[0].need("network")
    report = Host(mods, grants={"files"}).report
    assert "'network', which this game does not give" in (report["writer"].problem or "")
    assert report["reader"].state == "running"


def test_a_mod_opens_its_own_files_and_they_close_with_it(write_mod: WriteMod, mods: Path) -> None:
    write_mod("writer", toml='id = "writer"\npermissions = ["files"]')
    (mods / "writer" / "words.txt").write_text("Größe", encoding="utf-8")
    write_mod("reader")
    host = Host(mods)
    reader, writer = host.mods
    words = writer.open("words.txt")
    assert words.read() == "Größe"
    notes = writer.open("notes.bin", "wb")
    notes.write(b"x")
    with pytest.raises(ModError, match="no permission 'files'"):
        reader.open("notes.txt", "w")
    for name, mode in (("../reader/main.py", "r"), ("nothing.txt", "r"), ("words.txt", "q")):
        with pytest.raises(ModError):
            writer.open(name, mode)
    host.unload("writer")
    assert words.closed and notes.closed
    assert (mods / "writer" / "notes.bin").read_bytes() == b"x"


def pack(path: Path, entries: dict[str, str], **special: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = special.get("mode", 0o644) << 16
            archive.writestr(info, text)
    return path


SCRIPT = """
from modkit.host import on
from . import talk
@on("go")
def go(mod, event):
    mod.emit("went", by=talk.NAME)
"""


@pytest.mark.parametrize("top", ["", "harbour-1.0/"])
def test_a_mod_comes_as_a_zip_and_leaves_nothing_behind(mods: Path, top: str) -> None:
    files = {"mod.toml": 'id = "zipped"', "main.py": SCRIPT, "talk.py": 'NAME = "talk"'}
    pack(mods / "zipped.zip", {top + name: text for name, text in files.items()})
    host = Host(mods)
    heard: list[str] = []
    host.subscribe("went", lambda event: heard.append(event.by))
    host.emit("go")
    host.tick(0.1)
    assert heard == ["talk"]
    assert host.report["zipped"].folder == mods.resolve() / "zipped.zip"
    unpacked = host.mods[0].folder
    with pytest.raises(ModError, match="came as a zip"):
        host.mods[0].manifest.permissions  # noqa: B018
        object.__setattr__(host.mods[0].manifest, "permissions", ("files",))
        host.mods[0].open("notes.txt", "w")
    pack(mods / "zipped.zip", {**files, "talk.py": 'NAME = "other"'})
    host.reload("zipped", now=True)
    host.emit("go")
    host.tick(0.1)
    assert heard == ["talk", "other"]
    assert not unpacked.exists()
    unpacked = host.mods[0].folder
    host.close()
    assert not unpacked.exists()


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "C:/evil.py", "a\\..\\evil.py", "a\x01.py"]
)
def test_a_zip_that_leads_out_is_refused(mods: Path, name: str) -> None:
    pack(mods / "evil.zip", {"mod.toml": 'id = "evil"', "main.py": "", name: "x"})
    report = Host(mods).report["evil"]
    assert report.state == "refused" and "pack" in (report.problem or "")
    assert not list(mods.parent.rglob("evil.py"))


def test_a_zip_with_a_link_a_bomb_or_no_zip_at_all_is_refused(mods: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(mods / "link.zip", {"mod.toml": "/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    pack(mods / "bomb.zip", {"mod.toml": 'id = "bomb"', "main.py": "#" * 30_000_000})
    pack(mods / "many.zip", {f"{n}.txt": "" for n in range(60)})
    (mods / "none.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    monkeypatch.setattr(folder_module, "MAX_FILES", 50)
    report = Host(mods).report
    assert {ident: one.state for ident, one in report.items()} == dict.fromkeys(
        ("link", "bomb", "many", "none"), "refused"
    )
    for ident, word in (("link", "a link"), ("bomb", "far more"), ("many", "60 files"), ("none", "not a zip")):
        assert word in (report[ident].problem or "")


def test_a_damaged_zip_is_refused_wherever_it_is_damaged(mods: Path, tmp_path: Path) -> None:
    whole = pack(tmp_path / "whole.zip", {"mod.toml": 'id = "z"', "main.py": "x = 1\n" * 50}).read_bytes()
    loaded = 0
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        (mods / "z.zip").write_bytes(damaged)
        with Host(mods) as host:
            loaded += len(host.mods)
            assert all(one.problem for one in host.report.values() if one.state == "refused")
    assert loaded < len(whole) / 7


def test_load_mod_takes_a_zip_too(tmp_path: Path) -> None:
    host, mod = load_mod(pack(tmp_path / "z.zip", {"mod.toml": 'id = "z"', "main.py": ""}))
    assert mod.id == "z"
    host.close()
