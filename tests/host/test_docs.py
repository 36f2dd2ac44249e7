"""docs/mods.md is true: its mods load, its snippets run, and every public name of the room is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import modkit.host
import modkit.testing
from modkit.host import Handler, Host, Mod, ModReport

PAGE = (Path(__file__).parents[2] / "docs" / "mods.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_every_snippet_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for _, text in BLOCKS:
        named = re.match(r"# (mods/\w+)/(\S+)\n", text)
        if named:
            folder = Path(named[1])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / named[2]).write_text(text, encoding="utf-8")
            if not (folder / "mod.toml").exists():
                (folder / "mod.toml").write_text(f'id = "{folder.name}"\n', encoding="utf-8")
    for language, text in BLOCKS:
        if language == "python" and not text.startswith("# mods/"):
            exec(compile(text, "docs/mods.md", "exec"), {"__name__": "snippet"})
            ran += 1
    assert ran == 2
    with Host("mods") as host:
        heard: list[str] = []
        host.subscribe("creak", lambda event: heard.append(event.side))
        host.tick(0.1)
        host.emit("door_opened", side="north")
        for _ in range(3):
            host.tick(0.1)
        assert {report.state for report in host.report.values()} == {"running"}
        assert heard == ["north"]


def test_every_public_name_is_on_the_page() -> None:
    for thing, word in ((Mod, "mod"), (Host, "host")):
        for name in dir(thing):
            if not name.startswith("_"):
                assert f"{word}.{name}" in PAGE, f"{word}.{name} is not documented"
    for name in modkit.host.__all__:
        if name not in ("Manifest",):
            assert re.search(rf"\b{name}\b", PAGE), f"{name} is not documented"
    assert set(Handler.__dict__) >= {"remove"}
    assert set(ModReport.__dataclass_fields__) >= {"state", "failures", "last_error", "seconds"}


@pytest.mark.parametrize("room", [modkit.host, modkit.testing])
def test_all_is_sorted_and_is_what_is_public(room: object) -> None:
    names = list(room.__all__)  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert all(hasattr(room, name) for name in names)
