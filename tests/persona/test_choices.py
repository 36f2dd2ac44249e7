"""What the player could say next: short, different, in the form a wheel needs, and nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import EngineError, OptionError
from modkit.persona import NPC, Persona
from modkit.testing import FakeEngine
from tests.persona.support import built


@pytest.fixture
def mara(tmp_path: Path) -> Persona:
    return built(tmp_path, "Player: What do you eat?\nMara: Herring.\n", card="You are Mara.")


def test_choices_are_different_and_as_many_as_asked(mara: Persona) -> None:
    said = "1. What do you fish?\n2. what do you fish!\n3. Show me the boat.\n4. Goodbye.\n5. Who are you?"
    engine = FakeEngine(["Herring.", said])
    with NPC(mara, engine, player="Anna") as npc:
        npc.say("What do you eat?").result(5)
        choices = npc.choices(3, "It is late.")
        assert choices.result(5) == ["What do you fish?", "Show me the boat.", "Goodbye."]
        asked = engine.requests[-1].messages
        assert asked[-2]["content"] == "Herring." and "Anna" in asked[-1]["content"]
        assert asked[-1]["content"].endswith("It is late.)")
        assert len(npc.transcript) == 1


def test_of_a_list_that_was_cut_off_only_what_is_complete_counts(mara: Persona) -> None:
    with NPC(mara, FakeEngine(["1. One is here.\n2. Two is here.\n3. Three is"])) as npc:
        assert npc.choices(3, max_tokens=7).result(5) == ["One is here."]


def test_they_can_be_cancelled_and_a_wrong_number_is_refused(mara: Persona) -> None:
    engine = FakeEngine()
    with NPC(mara, engine) as npc:
        choices = npc.choices()
        choices.cancel()
        for _ in range(5):
            engine.tick()
        assert choices.done
        with pytest.raises(EngineError, match="cancelled"):
            choices.result(1)
        for wrong in (0, 9, 2.5, True):
            with pytest.raises(OptionError, match="1 to 8"):
                npc.choices(wrong)  # type: ignore[arg-type]


def test_a_real_engine_keeps_to_the_form(mara: Persona, make_engine: Callable[..., Engine], tiny: Path) -> None:
    engine = make_engine(tiny, context=4096)
    with NPC(mara, engine) as npc:
        for seed in range(3):
            found = npc.choices(3, temperature=1.5, top_k=0, top_p=1, min_p=0, seed=seed, max_tokens=900).result(60)
            assert len(found) == len(set(found)) == 3
            assert all(3 <= len(text) <= 80 and "\n" not in text and text[-1] in ".!?…。！？" for text in found)
