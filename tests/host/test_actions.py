"""A mod's actions: guarded like its handlers, offered while its conditions hold, gone when it is unloaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modkit.host import Host
from modkit.persona import NPC
from modkit.testing import FakeEngine, load_mod, run_ticks
from tests.persona.support import built

SCRIPT = """
from __future__ import annotations
from typing import Annotated
from modkit.errors import ActionRefused
from modkit.host import action, on

BAG = ["lamp"]

@action("mara", when=lambda mod: BAG)
def give(mod, item: Annotated[str, lambda: BAG]) -> str:
    "Hand it over."
    BAG.remove(item)
    mod.emit("received", item=item)
    return f"It is gone, the {item}."

@action("mara")
def refuse(mod):
    "Say no."
    raise ActionRefused("No.")

@action("mara")
def stumble(mod):
    "Fall."
    return 1 / 0
"""


@pytest.fixture
def game(tmp_path: Path) -> tuple[Host, NPC, FakeEngine]:
    folder = tmp_path / "mods" / "harbour"
    folder.mkdir(parents=True)
    (folder / "mod.toml").write_text('id = "harbour"\n', encoding="utf-8")
    (folder / "main.py").write_text(SCRIPT, encoding="utf-8")
    engine = FakeEngine(['So. <do:give {"item":"lamp"}><do:refuse {}><do:stumble {}>'])
    host, _ = load_mod(folder, engine=engine)
    npc = NPC(built(tmp_path, "Player: Hm?\nMara: Yes.\n"), engine)
    host.add_npc("mara", npc)
    return host, npc, engine


def test_a_mods_functions_are_called_guarded_and_in_order(game: tuple[Host, NPC, FakeEngine]) -> None:
    host, npc, engine = game
    heard: list[str] = []
    host.subscribe("received", lambda event: heard.append(event.item))
    run_ticks(host, 1)
    assert set(npc.actions) == {"give", "refuse", "stumble"}
    npc.say("Please.")
    run_ticks(host, 10)
    assert heard == ["lamp"]
    assert [deed.outcome for deed in npc.actions.log] == ["done", "refused", "failed"]
    report = host.report["harbour"]
    assert report.failures == 1 and "ZeroDivisionError" in (report.last_error or "")
    npc.say("And now?")
    assert "give(" not in engine.requests[-1].text  # nothing is left to give
    assert "* It is gone, the lamp.\n* No.\n* stumble did not work." in engine.requests[-1].text
    host.close()


def test_an_unloaded_mod_takes_its_actions_along(game: tuple[Host, NPC, FakeEngine]) -> None:
    host, npc, _ = game
    run_ticks(host, 1)
    npc.say("Please.")
    host.unload("harbour")
    assert len(npc.actions) == 0
    run_ticks(host, 10)
    assert [deed.outcome for deed in npc.actions.log] == ["refused"] * 3
    host.close()


def test_what_cannot_be_offered_is_a_failure_of_the_mod_with_the_fix(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "mod.toml").write_text('id = "bad"\n', encoding="utf-8")
    (folder / "main.py").write_text(
        "from modkit.host import action\n@action('mara')\ndef wave(mod, what):\n    'Wave.'\n", encoding="utf-8"
    )
    host, _ = load_mod(folder, engine=FakeEngine())
    host.add_npc("mara", NPC(built(tmp_path, "Player: Hm?\nMara: Yes.\n"), host.engine))
    run_ticks(host, 1)
    assert "give the parameter 'what' a type" in (host.report["bad"].last_error or "")
    host.close()


def test_the_mod_of_the_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "actions.md").read_text(encoding="utf-8")
    script = next(
        b for b in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if b.startswith("# mods/")
    )
    folder = tmp_path / "harbour"
    folder.mkdir()
    (folder / "mod.toml").write_text('id = "harbour"\n', encoding="utf-8")
    (folder / "main.py").write_text(script, encoding="utf-8")
    reply = '<mood:warm>Here. <do:give {"item":"rope"}>Now come. <do:lead {"steps":9}>'
    host, _ = load_mod(folder, engine=FakeEngine([reply]))
    host.add_npc("sable", NPC(built(tmp_path, "Player: Hm?\nMara: Yes.\n"), host.engine, moods=["warm"]))
    heard: list[tuple[str, str]] = []
    host.subscribe("*", lambda event: heard.append((event.name, str(next(iter(event.fields.values()))))))
    run_ticks(host, 1)
    host.emit("player_near", text="Please.")
    run_ticks(host, 20)
    assert ("received", "rope") in heard and ("face", "warm") in heard and ("walk", "9") not in heard
    assert [text for name, text in heard if name == "subtitle"] == ["Here.", "Now come."]
    assert host.report["harbour"].failures == 0
    host.close()
