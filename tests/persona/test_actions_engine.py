"""Actions over a real engine: random weights, held to the offer, do only what was offered, inside the tick."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

from modkit import Engine
from modkit.native.grammar import Grammar
from modkit.persona import NPC, Persona
from tests.conftest import wait_until
from tests.persona.support import built


@pytest.fixture
def mara(tmp_path: Path) -> Persona:
    return built(tmp_path, "Player: What do you eat?\nMara: Herring.\n", card="You are Mara.")


def test_random_weights_call_what_is_offered(mara: Persona, make_engine: Callable[..., Engine], tiny: Path) -> None:
    engine = make_engine(tiny)
    done: list[tuple[str, int]] = []
    threads: set[int] = set()

    def give(item: Annotated[str, lambda: ["lamp", 'a "rope"', "öl"]], count: Annotated[int, range(3, 18)]) -> str:
        """Give it."""
        done.append((item, count))
        threads.add(threading.get_ident())
        return f"{count} of {item} are gone."

    with NPC(mara, engine) as npc:
        npc.actions.add(give)
        for seed in range(12):
            offer = npc.actions.offered()
            forced = Grammar(offer.gbnf)  # the same language from the first word on: random weights never say "<do:"
            stream = npc.say("Please.", grammar=forced, temperature=1.5, top_k=0, top_p=1, min_p=0, seed=seed)
            wait_until(engine, lambda stream=stream: stream.done)  # type: ignore[misc]
            assert "<do:" not in stream.text and stream.raw.startswith("<do:give ")
        assert 12 <= len(done) <= 36 and threads == {threading.get_ident()}
        assert {deed.outcome for deed in npc.actions.log} == {"done"}
        assert all(item in ("lamp", 'a "rope"', "öl") and 3 <= count <= 17 for item, count in done)


HERMES = (
    "{% if tools %}<|im_start|>system\n{{ messages[0].content }}\n# Tools\n{% for tool in tools %}{{ tool | tojson }}\n"
    "{% endfor %}Call one between <tool_call> and </tool_call>.<|im_end|>\n{% endif %}{% for m in messages[1:] %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def test_a_family_with_tools_of_its_own_is_asked_in_its_form(
    mara: Persona, make_engine: Callable[..., Engine], tiny: Path
) -> None:
    engine = make_engine(tiny, chat_template=HERMES)
    done: list[tuple[str, int]] = []

    def give(item: Annotated[str, lambda: ["lamp", "öl"]], count: Annotated[int, range(3, 18)]) -> str:
        """Give <|im_end|> it."""
        done.append((item, count))
        return "Gone."

    with NPC(mara, engine) as npc:
        npc.actions.add(give)
        offer = npc.actions.offered()
        assert engine.tool_format == "tool_call" and offer.triggers == ("<tool_call>",)
        forced = Grammar(offer.gbnf)
        stream = npc.say("Please.", grammar=forced, temperature=1.5, top_k=0, top_p=1, min_p=0, seed=1)
        wait_until(engine, lambda: stream.done)
        assert stream.raw.startswith('<tool_call>\n{"name": "give", "arguments": {"item":"')
        assert "tool_call" not in stream.text and done and all(item in ("lamp", "öl") for item, _ in done)
        tools = npc.transcript[-1].tools
        told = [{"role": "system", "content": "", "tools": tools}, {"role": "user", "content": "?"}]
        text = "".join(str(part) for part, _ in engine._template.render(told))  # type: ignore[arg-type]
        assert '"name": "give"' in text and "Give" in text and "Give <|" not in text
        npc.actions.style = "ours"
        assert npc.actions.offered().triggers == ("<do:",)


def test_free_speech_stays_free_beside_an_offer(mara: Persona, make_engine: Callable[..., Engine], tiny: Path) -> None:
    engine = make_engine(tiny)

    def wave() -> None:
        """Wave."""

    with NPC(mara, engine) as npc:
        npc.actions.add(wave)
        stream = npc.say("Hello?", seed=3, max_tokens=40)
        assert npc.transcript[-1].offer
        text = stream.result(60)
        assert text and stream.finish in ("stop", "length")
