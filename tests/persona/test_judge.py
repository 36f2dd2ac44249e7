"""A model as a judge: probabilities as answers, and the policies over the memory that stand on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import EngineError, OptionError
from modkit.persona import NPC, Judge, Persona, Recalled
from modkit.testing import FakeEngine, FakeRequest
from tests.persona.support import built

TALK = """Player: Who lights the lamp?
Mara: Old Ferris keeps the lighthouse.
Player: May I go up?
Mara: The lighthouse stairs are wet.
Player: What do you eat?
Mara: Herring. It is always herring.
"""


@pytest.fixture
def mara(tmp_path: Path) -> Persona:
    return built(tmp_path, TALK, card="You are Mara.")


def opinion(about: str) -> Callable[[FakeRequest], str]:
    """Says Yes where the question has these words."""
    return lambda request: "Yes" if about in request.text else "No"


def test_a_question_is_answered_with_a_probability() -> None:
    judge = Judge(FakeEngine(["Yes", "No", "4"]))
    assert judge.yes("Is it night?").result(5) == pytest.approx(0.9)
    assert judge.yes("Is it day?").result(5) == pytest.approx(0.1)
    assert judge.score("How friendly is this?").result(5) == pytest.approx(0.9 * 4 + 0.025 * (1 + 2 + 3 + 5))
    with pytest.raises(OptionError):
        judge.score("?", 1, 1)


def test_a_lean_is_measured_and_taken_off() -> None:
    judge = Judge(FakeEngine(["Yes"]))
    assert judge.calibrate().result(5) > 2
    assert judge.yes("Is it night?").result(5) == pytest.approx(0.5)


def test_what_is_beside_the_point_is_left_out(mara: Persona) -> None:
    engine = FakeEngine(opinion("Note: Old Ferris"))
    recalled = Judge(engine).recall(mara, "Who keeps the lighthouse?").result(5)
    assert [memory.text for memory in recalled.memories] == ["Old Ferris keeps the lighthouse."]
    assert recalled.verdict == "right" and recalled.scores == pytest.approx((0.9,))
    assert len(engine.requests) == 2  # as many as lines were found

    nothing = Judge(FakeEngine(["No"])).recall(mara, "Who keeps the lighthouse?").result(5)
    assert nothing == Recalled((), (), "nothing")
    assert Judge(FakeEngine(["Yes"])).recall(mara, "Zzzz?").result(5).verdict == "nothing"


def test_where_nothing_must_be_known_nothing_is_looked_up(mara: Persona) -> None:
    engine = FakeEngine(["No"])
    assert Judge(engine).recall(mara, "Good evening.", check_need=True).result(5).verdict == "not needed"
    assert len(engine.requests) == 1


def test_the_weighed_memories_come_to_her_mind(mara: Persona) -> None:
    engine = FakeEngine(opinion("stairs"))
    recalled = Judge(engine).recall(mara, "And the lighthouse?").result(5)
    with NPC(mara, engine) as npc:
        npc.say("And the lighthouse?", memories=recalled.memories).result(5)
        assert engine.requests[-1].text.startswith("You remember:\n* The lighthouse stairs are wet.\nPlayer:")
        npc.say("And the lighthouse?", memories=()).result(5)
        assert "You remember" not in engine.requests[-1].text
        assert Judge(FakeEngine(opinion("stairs are wet"))).supported("Wet.", recalled.memories).result(5) > 0.8


def test_an_engine_that_fails_or_a_cancel_is_the_answers_end(mara: Persona) -> None:
    engine = FakeEngine([EngineError("no")])
    with pytest.raises(EngineError, match="no"):
        Judge(engine).recall(mara, "Who keeps the lighthouse?").result(5)
    cancelled = Judge(FakeEngine(["Yes"])).relevant("a", ["b", "c"])
    cancelled.cancel()
    cancelled._engine.tick()
    with pytest.raises(EngineError, match="cancelled"):
        cancelled.result(5)
    for k, among in ((0, 3), (4, 3), (1, 17)):
        with pytest.raises(OptionError):
            Judge(engine).recall(mara, "?", k, among=among)


def test_a_real_model_weighs_them(mara: Persona, make_engine: Callable[..., Engine], tiny: Path) -> None:
    judge = Judge(make_engine(tiny, slots=2), least=0.01)
    judge.calibrate().result(60)
    recalled = judge.recall(mara, "Who keeps the lighthouse?", 2).result(60)
    assert len(recalled.memories) == 2 and all(0 < score < 1 for score in recalled.scores)
    assert list(recalled.scores) == sorted(recalled.scores, reverse=True)
    assert 0 < judge.supported("Ferris.", recalled.memories).result(60) < 1
