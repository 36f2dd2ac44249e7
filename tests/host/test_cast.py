"""NPCs reach mods by id: from the game, from a file in a mod's folder, with their minds in the game's save."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import EngineError, ModError
from modkit.host import Host
from modkit.persona import NPC, Persona, build
from modkit.testing import FakeEngine, run_ticks

WriteMod = Callable[..., Path]
ASK = """
    @on("ask")
    async def ask(mod, event):
        mod.emit("said", text=await mod.npc("sable").say(event.text))
    """


@pytest.fixture
def persona(tmp_path: Path) -> Path:
    lines = [
        {"speaker": "Sable", "text": "The lamp has eight panes, and one of them is green."},
        {"speaker": "Sable", "text": "Soot came off a coal boat with one eye."},
    ]
    dump = tmp_path / "lines.jsonl"
    dump.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    build(dump, "Sable", tmp_path / "sable.persona", card="You are Sable.")
    return tmp_path / "sable.persona"


def talk(host: Host, words: str) -> list[str]:
    said: list[str] = []
    stop = host.subscribe("said", lambda event: said.append(event.text))
    host.emit("ask", text=words)
    run_ticks(host, 20)
    stop()
    return said


def test_a_persona_of_the_game_answers_with_her_memories(
    write_mod: WriteMod, mods: Path, persona: Path
) -> None:
    write_mod("talk", ASK)
    engine = FakeEngine(["Eight. One is green."])
    with Host(mods, engine=engine) as host:
        host.add_persona("sable", persona)
        assert talk(host, "How many panes has the lamp?") == ["Eight. One is green."]
    system, user = engine.requests[0].messages
    assert system["content"] == "You are Sable."
    assert "eight panes" in user["content"] and "Player: How many panes" in user["content"]


def test_a_persona_in_a_mods_folder_needs_no_game(write_mod: WriteMod, mods: Path, persona: Path) -> None:
    folder = write_mod("talk", ASK)
    persona.rename(folder / "sable.persona")
    with Host(mods, engine=FakeEngine(["Soot."])) as host:
        assert talk(host, "Who is your cat?") == ["Soot."]


def test_what_was_said_is_in_the_save_when_the_game_starts_again(
    write_mod: WriteMod, mods: Path, persona: Path, tmp_path: Path
) -> None:
    write_mod("talk", ASK)
    save = tmp_path / "slot1.save"
    for words in ("First?", "Second?"):
        with Host(mods, engine=FakeEngine(["Yes."]), save=save) as host:
            host.add_persona("sable", persona)
            talk(host, words)
    with Host(mods, engine=FakeEngine(), save=save) as host:
        host.add_persona("sable", persona)
        assert [turn.words for turn in host.npc("sable").transcript] == ["First?", "Second?"]


def test_the_game_closes_what_it_opened_and_the_host_what_the_host_opened(persona: Path) -> None:
    engine = FakeEngine(["Yes."])
    with Persona.open(persona) as opened, NPC(opened, engine) as npc:
        with Host(None, engine=engine) as host:
            host.add_npc("sable", npc)
            host.add_persona("other", opened)
            other: Any = host.npc("other")
        assert npc.say("Still there?").result() == "Yes."
        with pytest.raises(EngineError, match="closed"):
            other.say("And you?")


def test_a_damaged_persona_refuses_its_mod_alone(write_mod: WriteMod, mods: Path) -> None:
    write_mod("good", ASK)
    (write_mod("spoilt", "") / "sable.persona").write_bytes(b"not a persona at all")
    with Host(mods, engine=FakeEngine()) as host:
        assert host.report["good"].state == "running"
        assert host.report["spoilt"].state == "refused"
        assert "sable.persona" in (host.report["spoilt"].problem or "")
        with pytest.raises(ModError, match="There is no NPC 'sable'"):
            host.npc("sable")
