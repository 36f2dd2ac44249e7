"""docs/mods.md is true: its mods load, its snippets run, and every public name of the room is in it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import modkit.host
import modkit.testing
from modkit.host import Handler, Host, Mod, ModReport
from modkit.host.events import LIFECYCLE
from modkit.host.manifest import PERMISSIONS

PAGE = (Path(__file__).parents[2] / "docs" / "mods.md").read_text(encoding="utf-8")
QUOTED = PAGE.replace('"', "'")  # as Python shows texts
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
    assert ran == 3
    with Host("mods") as host:
        heard: list[str] = []
        host.subscribe("creak", lambda event: heard.append(event.side))
        host.tick(0.1)
        host.emit("door_opened", side="north")
        for _ in range(3):
            host.tick(0.1)
        assert {report.state for report in host.report.values()} == {"running"}
        assert heard == ["north"]
        told: list[object] = []
        host.subscribe("lamp", lambda event: told.append(event.lit))
        host.subscribe("visits", lambda event: told.append((event.n, event.mood)))
        host.emit("dusk")
        host.emit("player_near", text="Good evening.")
        host.reload("visits", now=True)
        host.emit("player_near", text="Good night.")
        host.tick(0.1)
        assert told == [True, (1, "calm"), (2, "calm")]


@pytest.mark.parametrize(("thing", "word"), [(Mod, "mod"), (Host, "host")])
def test_every_call_is_on_the_page_with_its_exact_signature(thing: type, word: str) -> None:
    for name, value in vars(thing).items():
        if callable(value) and not name.startswith("_"):
            arguments = [
                p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(value).parameters.values()
            ]
            shape = str(inspect.Signature(arguments[1:]))
            assert f"`{word}.{name}{shape}`" in QUOTED, f"`{word}.{name}{shape}` is not documented"


def test_the_hosts_own_options_are_on_the_page() -> None:
    arguments = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(Host).parameters.values()]
    assert f"`Host{inspect.Signature(arguments)}`" in QUOTED


@pytest.mark.parametrize("name", [n for n in modkit.testing.__all__ if n != "FakeRequest"])
def test_every_testing_tool_is_on_the_page_with_its_exact_signature(name: str) -> None:
    arguments = inspect.signature(getattr(modkit.testing, name)).parameters.values()
    shape = inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in arguments])
    assert f"`{name}{shape}`" in QUOTED, f"`{name}{shape}` is not documented"


@pytest.mark.parametrize("hook", ["on", "every", "save", "restore"])
def test_every_hook_is_on_the_page_with_what_it_is_called_with(hook: str) -> None:
    assert re.search(rf"^\| `@{hook}\b[^|]*\| `fn\(mod[^|]*\)` \|", PAGE, re.MULTILINE)


def test_every_event_of_the_host_and_every_permission_is_on_the_page() -> None:
    for event in LIFECYCLE:
        assert f'`@on("{event}")`' in PAGE
    for permission in PERMISSIONS:
        assert f"`{permission}`" in PAGE


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
