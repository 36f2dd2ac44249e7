"""A mind that follows the save: what was lived through is remembered, forgotten, taken back and summed up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from modkit.errors import OptionError
from modkit.persona import NPC, Conversation, Experience, Mind, Persona, Save
from modkit.testing import FakeEngine, FakeRequest
from tests.persona.support import built
from tests.persona.test_recall import Thesaurus

TALK = "Player: Who keeps the lighthouse?\nMara: Old Ferris does, since the flood.\n"


@pytest.fixture
def mara(tmp_path: Path) -> Persona:
    return built(tmp_path, TALK, card="You are Mara.")


def asked(engine: FakeEngine) -> str:
    return engine.requests[-1].text


def far(npc: NPC, engine: FakeEngine) -> None:
    """Talk about other things until the first turns have left the prompt."""
    while npc._first < 3:
        npc.say("And so on. " * 30).result()


# Remembering.


def test_what_the_player_told_is_remembered_when_the_turn_has_left_the_prompt(mara: Persona) -> None:
    engine = FakeEngine(["Yes."], context=700)
    npc = NPC(mara, engine)
    npc.say("My sister Edda lives in the old mill.").result()
    npc.say("Do you know where Edda lives?").result()
    assert "* Player said" not in asked(engine), "the turn itself is still before her eyes"
    far(npc, engine)
    npc.say("Do you know where Edda lives?").result()
    assert "* Player said: My sister Edda lives in the old mill." in asked(engine)


def test_what_a_mod_lets_her_know_comes_to_mind_and_is_forgotten(mara: Persona) -> None:
    engine = FakeEngine(["Yes."])
    npc = NPC(mara, engine)
    npc.remember("The player stole a red boat.", present=["Bram"])
    npc.say("Do you like the red boat?").result()
    assert "* The player stole a red boat." in asked(engine)
    assert npc.last_memories[0].kind == "told"
    npc.forget("RED BOAT")
    npc.say("Where is the red boat?").result()
    assert "stole" not in asked(engine)


def test_the_nearest_comes_last_and_the_dump_is_not_pushed_out(mara: Persona) -> None:
    engine = FakeEngine(["Yes."])
    npc = NPC(mara, engine)
    npc.remember("Ferris fell from the lighthouse stairs.", importance=0.9)
    npc.say("Who keeps the lighthouse?").result()
    rows = asked(engine).split("\n")
    assert rows[:1] == ["You remember:"]
    assert set(rows[1:3]) == {"* Old Ferris does, since the flood.", "* Ferris fell from the lighthouse stairs."}


def test_importance_and_time_weigh(tmp_path: Path) -> None:
    mind = Mind(Save.in_memory(), "Mara")
    mind.add([Experience("The bell rang twice.", time=0.0), Experience("The bell rang again.", time=100.0)])
    assert mind.recall("Who rang the bell?", now=101.0)[0].text == "The bell rang again."
    mind.add([Experience("The bell rang for the dead king.", importance=1.0, time=0.0)])
    assert mind.recall("Who rang the bell?", now=0.0)[0].text == "The bell rang for the dead king."
    assert mind.recall("What is for supper?") == []


def test_experiences_are_found_by_meaning(mara: Persona) -> None:
    mind = Mind(Save.in_memory(), "Mara", Thesaurus())
    mind.add([Experience("My ferry departs."), Experience("The oil is bad.")])
    vector = bytes(Thesaurus().embed(["vessel leaves"]).cast("B"))
    assert [memory.text for memory in mind.recall("vessel leaves", vector=vector)] == ["My ferry departs."]
    assert mind.recall("vessel leaves") == []


def test_two_minds_in_one_save_stay_apart() -> None:
    save = Save.in_memory()
    one, two = Mind(save, "Mara"), Mind(save, "Tobin")
    one.add([Experience("I owe Tobin a boat.")])
    assert two.recall("Who owes me a boat?") == [] and two.everything() == []
    one.put("x", {"a": 1})
    assert (one.get("x"), two.get("x", 0)) == ({"a": 1}, 0)


# The save.


def test_an_older_save_is_exactly_the_older_mind(mara: Persona, tmp_path: Path) -> None:
    path, older = tmp_path / "a.save", tmp_path / "older.save"
    with NPC(mara, FakeEngine(["Yes."]), save=path) as npc:
        npc.time, npc.mood, npc.feelings["Player"] = 5.0, "tired", 0.5
        npc.remember("The gate is open.")
        npc.say("I am Ann.").result()
    shutil.copy(path, older)
    with NPC(mara, FakeEngine(["Yes."]), save=path) as npc:
        npc.mood = "glad"
        npc.remember("The gate is shut.")
        npc.say("I am Ann no more.").result()
        assert len(npc.mind.everything()) > 3
    with NPC(mara, FakeEngine(["Yes."]), save=older) as npc:
        assert [one.text for one in npc.mind.everything()] == ["The gate is open.", "I am Ann.", "Yes."]
        assert (npc.time, npc.mood, npc.feelings) == (5.0, "tired", {"Player": 0.5})
        assert [turn.words for turn in npc.transcript] == ["I am Ann."]


def test_a_turn_and_what_is_remembered_of_it_are_committed_together(mara: Persona, tmp_path: Path) -> None:
    with NPC(mara, FakeEngine(["Yes."]), save=tmp_path / "a.save") as npc:
        npc.say("I am Ann.").result()
    connection = apsw.Connection(str(tmp_path / "a.save"))
    numbers = [row[0] for row in connection.execute("SELECT id FROM turns")]
    assert {row[0] for row in connection.execute("SELECT turn FROM memories")} == set(numbers)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def test_a_save_of_format_1_gets_a_mind(tmp_path: Path) -> None:
    path = tmp_path / "a.save"
    Save.open(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("DROP TABLE memories; DROP TABLE memory_words; DROP TABLE minds; PRAGMA user_version = 1")
    connection.execute(
        "INSERT INTO turns (npc, player, words, content, reply, finish, model, tokens, extra) "
        "VALUES ('Mara', 'Player', 'Hello.', 'Player: Hello.', 'Hm.', 'stop', '', x'90', x'80')"
    )
    connection.close()
    with Save.open(path) as save:
        Mind(save, "Mara").add([Experience("The gate is open.")])
        assert [turn.reply for turn in save.turns("Mara")] == ["Hm."]
    with Save.open(path) as save:
        assert len(Mind(save, "Mara").everything()) == 1


# Taking back.


@pytest.mark.parametrize("kept", [True, False], ids=["with a save", "without a save"])
def test_undo_takes_back_the_last_turn_and_what_is_remembered_of_it(mara: Persona, tmp_path: Path, kept: bool) -> None:
    engine = FakeEngine(["Yes."])
    npc = NPC(mara, engine, save=tmp_path / "a.save" if kept else None)
    npc.say("I am Ann.").result()
    npc.say("I killed the king.").result()
    taken = npc.undo()
    assert taken is not None and taken.words == "I killed the king."
    assert [one.text for one in npc.mind.everything()] == ["I am Ann.", "Yes."]
    npc.say("Who am I?").result()
    assert [message["content"] for message in engine.requests[-1].messages if "king" in message["content"]] == []
    npc.close()
    if kept:
        with Save.open(tmp_path / "a.save") as save:
            assert [turn.words for turn in save.turns("Mara")] == ["I am Ann.", "Who am I?"]


def test_undo_stops_a_reply_under_way_and_has_an_end(mara: Persona) -> None:
    engine = FakeEngine(["One two three four."])
    npc = NPC(mara, engine)
    stream = npc.say("Count.")
    engine.tick()
    assert npc.undo() is not None
    engine.tick()
    assert stream.finish == "cancelled"
    assert npc.undo() is None
    assert npc.mind.everything() == []


# Folding.


def summing(request: FakeRequest) -> str:
    return "Edda is Ann's sister." if "Write down in two" in request.text else "Yes."


def test_old_turns_are_summed_up_when_she_is_silent(mara: Persona) -> None:
    engine = FakeEngine(summing, context=700)
    npc = NPC(mara, engine, summaries=False)
    npc.say("My sister Edda lives in the old mill.").result()
    assert npc.reflect() is None, "nothing has left the prompt"
    while npc._first < 6:
        npc.say("And so on. " * 30).result()
    stream = npc.say("Wait.")
    assert npc.reflect() is None, "she speaks"
    stream.result()
    summary = npc.reflect()
    assert summary is not None
    summary.result()
    told = engine.requests[-1].text
    assert "Player: My sister Edda lives in the old mill.\nMara: Yes." in told
    last = npc.mind.last_summary()
    assert last is not None and last.text == "Edda is Ann's sister."
    assert npc.reflect() is None, "each turn is folded once"
    npc.say("Go on.").result()
    assert "* Edda is Ann's sister." in asked(engine)
    npc.say("Go on.").result()
    assert "* Edda is Ann's sister." not in asked(engine), "it is before her eyes already"


def test_a_word_to_her_stops_the_summing_up(mara: Persona) -> None:
    engine = FakeEngine(summing, context=700)
    npc = NPC(mara, engine, summaries=True)
    while npc._first < 6 or npc._reflection is None:
        npc.say("And so on. " * 30).result()
    reflection = npc._reflection
    npc.say("Listen.").result()
    assert reflection.finish == "cancelled"
    assert npc.mind.last_summary() is None


def test_a_small_model_is_not_asked_to_sum_up(mara: Persona) -> None:
    engine = FakeEngine(summing, context=700)
    npc = NPC(mara, engine)
    while npc._first < 6:
        npc.say("And so on. " * 30).result()
    assert npc._reflection is None
    with pytest.raises(OptionError, match="summaries"):
        NPC(mara, engine, summaries="sometimes")


# Several people.


def test_everybody_there_hears_what_is_said_and_nobody_else(tmp_path: Path) -> None:
    engine = FakeEngine(lambda request: "I broke the lamp." if "Who broke" in request.text else "So.")
    cast = {}
    for name in ("Mara", "Tobin", "Edda"):
        (tmp_path / name).mkdir()
        cast[name] = NPC(built(tmp_path / name, f"{name}: Hm.\n", speaker=name), engine)
    talk = Conversation([cast["Mara"], cast["Tobin"], cast["Edda"]], player="Ann")
    talk.leave(cast["Edda"])
    talk.say("Who broke the lamp?", to=cast["Mara"]).result()
    assert engine.requests[-1].options["stop"] == ("\nPlayer:", "\nAnn:", "\nTobin:")
    talk.say("And you, Tobin?", to=cast["Tobin"]).result()
    assert asked(engine).split("\n")[-4:] == [
        "You notice:", "* Ann says: Who broke the lamp?", "* Mara says: I broke the lamp.", "Ann: And you, Tobin?",
    ]  # fmt: skip
    (question, answer, *_) = cast["Tobin"].mind.everything()
    assert (question.speaker, question.present) == ("Ann", ("Mara",))
    assert (answer.speaker, answer.text) == ("Mara", "I broke the lamp.")
    assert cast["Edda"].mind.everything() == []
    cast["Edda"].say("Who broke the lamp?").result()
    assert "I broke the lamp." not in asked(engine)
    with pytest.raises(OptionError, match="Edda is not in this conversation"):
        talk.say("Edda?", to=cast["Edda"])


# How she feels.


def test_mood_and_feelings_are_told_when_they_change(mara: Persona) -> None:
    engine = FakeEngine(["Yes."])
    npc = NPC(mara, engine, player="Ann")
    npc.mood, npc.feelings = "tired", {"Ann": 0.65, "Bram": -1.0}
    npc.say("Hello.").result()
    assert asked(engine).split("\n") == ["You notice:", "* You feel tired.", "* You trust Ann.", "Ann: Hello."]
    npc.say("Hello.").result()
    assert asked(engine) == "Ann: Hello."
    npc.feelings["Ann"] = -0.9
    npc.say("Hello.", present=["Bram"]).result()
    assert asked(engine).split("\n")[1:3] == ["* You hate Ann.", "* You hate Bram."]


def test_she_greets_and_answers_in_a_language(mara: Persona) -> None:
    engine = FakeEngine(["Well met."])
    npc = NPC(mara, engine)
    npc.language = "de"
    npc.greet(["It rains."]).result()
    assert engine.requests[-1].messages[0]["content"] == "You are Mara.\nAnswer in German."
    assert asked(engine) == "You notice:\n* Player comes up to you.\n* It rains.\nPlayer: ..."
    npc.greet().result()
    assert "* Player comes up to you again." in asked(engine)


@pytest.mark.parametrize("wrong", ["", 3.5, None, True])
def test_wrong_arguments_are_named(mara: Persona, wrong: Any) -> None:
    npc = NPC(mara, FakeEngine())
    with pytest.raises(OptionError):
        npc.forget(wrong)
    with pytest.raises(OptionError):
        npc.remember(wrong)
