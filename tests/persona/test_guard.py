"""What breaks character is never shown: said anew, cut, or told, as the policy says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modkit import Engine
from modkit.errors import EngineError, OptionError
from modkit.persona import NPC, Guard, Persona
from modkit.testing import FakeEngine
from tests.conftest import wait_until
from tests.persona.support import built

BAD = "As an AI, I have no name."


@pytest.fixture
def mara(tmp_path: Path) -> Persona:
    return built(tmp_path, "Mara: Hm.\n", card="You are Mara.")


def shown(engine: FakeEngine, stream: Any) -> str:
    """Everything that was ever shown, tick by tick."""
    text = ""
    for _ in range(200):
        text += stream.take()
        if stream.done:
            break
        engine.tick()
    return text + stream.take()


def test_a_reply_that_breaks_character_is_said_anew_and_never_shown(mara: Persona) -> None:
    engine = FakeEngine([BAD, "The tide has no name. Nor have I."])
    npc = NPC(mara, engine, guard=Guard())
    stream = npc.say("Who are you?", seed=5)
    assert shown(engine, stream) == "The tide has no name. Nor have I."
    assert [(one.reason, one.attempt, one.done) for one in stream.caught] == [
        ("an assistant speaks: 'as an ai'", 1, "resample")
    ]
    assert [request.messages for request in engine.requests] == [engine.requests[0].messages] * 2
    assert engine.requests[1].options["seed"] == 6
    assert (npc.transcript[-1].reply, stream.finish) == ("The tide has no name. Nor have I.", "stop")
    assert npc.transcript[-1].tokens == stream.tokens != ()
    assert not npc.speaking


def test_what_was_shown_already_stays_and_the_rest_is_cut(mara: Persona) -> None:
    engine = FakeEngine(["I keep the lamp. " + BAD + " Goodbye."])
    npc = NPC(mara, engine, guard=Guard())
    stream = npc.say("Who are you?")
    assert shown(engine, stream).strip() == "I keep the lamp."
    assert (stream.caught[0].done, stream.finish, stream.tokens) == ("cut", "stop", ())
    assert npc.transcript[-1].reply.strip() == "I keep the lamp."


def test_when_no_attempt_holds_there_is_the_fallback(mara: Persona) -> None:
    engine = FakeEngine([BAD])
    npc = NPC(mara, engine, guard=Guard(tries=2, fallback="She says nothing."))
    stream = npc.say("Who are you?")
    assert shown(engine, stream) == "She says nothing."
    assert [one.done for one in stream.caught] == ["resample", "cut"]
    assert len(engine.requests) == 2


def test_the_policy_keep_shows_and_tells(mara: Persona) -> None:
    engine = FakeEngine([BAD])
    stream = NPC(mara, engine, guard=Guard(on_break="keep")).say("Who are you?")
    assert shown(engine, stream) == BAD
    assert [one.done for one in stream.caught] == ["keep"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I’m just an AI.", "assistant"),
        ("Ask ChatGPT.", "assistant"),
        ("I saw it on the internet!", "not of this world: 'internet'"),
        ("Hm.<|im_end|>", "a template's mark"),
        ("[INST] Go on [/INST]", "a template's mark"),
        ("Hm.\nPlayer: I agree.", "speaks for Player"),
        ("<do:give {\"item\":\"lamp\"}> The internets are nets.", None),
        ("The rain aids the corn. A model of a ship.", None),
        ("I told the player: no.", None),
    ],
)
def test_what_breaks_character(text: str, reason: str | None) -> None:
    found = Guard(words=("internet",)).broken(text, ["Player"])
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_a_mod_may_look_for_itself(mara: Persona) -> None:
    engine = FakeEngine(["Long live the king.", "Hm."])
    guard = Guard(check=lambda before, text: "treason" if "king" in text else None)
    stream = NPC(mara, engine, guard=guard).say("Well?")
    assert shown(engine, stream) == "Hm."
    assert stream.caught[0].reason == "treason"


def test_marks_are_still_read_and_an_error_still_ends(mara: Persona) -> None:
    engine = FakeEngine(["<mood:wary>Who asks? Go.", EngineError("gone")])
    npc = NPC(mara, engine, guard=Guard(), moods=["wary"])
    stream = npc.say("Hello?")
    moods: list[str] = []
    stream.on_mood(moods.append)
    assert (shown(engine, stream), moods) == ("Who asks? Go.", ["wary"])
    failed = npc.say("Hello?")
    engine.tick()
    assert isinstance(failed.error, EngineError)


def test_an_interruption_keeps_what_was_shown(mara: Persona) -> None:
    engine = FakeEngine(["One two. Three four. Five six."])
    npc = NPC(mara, engine, guard=Guard())
    stream = npc.say("Count.")
    for _ in range(3):
        engine.tick()
    npc.interrupt()
    engine.tick()
    assert (stream.finish, npc.transcript[-1].reply) == ("cancelled", "One two. ")


@pytest.mark.parametrize("wrong", [{"on_break": "shout"}, {"tries": 0}, {"words": "internet"}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Guard(**wrong)


def test_a_guarded_reply_of_a_real_engine_is_the_unguarded_one(
    mara: Persona, make_engine: Callable[..., Engine], tiny: Path
) -> None:
    engine = make_engine(tiny)
    plain = NPC(mara, engine).say("Hello.", max_tokens=40, seed=3)
    plain.result(30)
    stream = NPC(mara, engine, guard=Guard()).say("Hello.", max_tokens=40, seed=3)
    wait_until(engine, lambda: stream.done)
    assert (stream.text, stream.tokens, stream.finish) == (plain.text, plain.tokens, plain.finish)
    caught = NPC(mara, engine, guard=Guard(check=lambda before, text: "no"))
    stream = caught.say("Hello.", max_tokens=40, seed=3)
    wait_until(engine, lambda: stream.done)
    assert (stream.text, [one.done for one in stream.caught]) == ("...", ["resample", "resample", "cut"])
