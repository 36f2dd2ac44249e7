"""An ambient stream gives way to a player's, and goes on where it was: on real llama.cpp builds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine, Stream
from tests.conftest import finish_all, wait_until
from tests.make_model import make_recurrent

Make = Callable[..., Engine]
# A pace, in tokens a second, at which an ambient reply takes seconds; first words do not wait for it.
SLOWLY = 20


def ramble(engine: Engine, prompt: str = "the lamp and the tide") -> Stream:
    return engine.generate(prompt, max_tokens=60, temperature=0, priority="ambient")


def interrupt(engine: Engine, question: str) -> None:
    asked = engine.generate(question, max_tokens=1, temperature=0, priority="player")
    wait_until(engine, lambda: asked.done)
    assert asked.error is None


@pytest.mark.parametrize("cache_ram", ["64MiB", 0])
def test_a_player_s_question_does_not_wait_for_ambient_replies(
    tiny: Path, make_engine: Make, cache_ram: str | int
) -> None:
    engine = make_engine(tiny, context=512, slots=2, cache_ram=cache_ram)
    engine.pace(SLOWLY)
    ambient = [ramble(engine, prompt) for prompt in ("the lamp", "a ship")]
    wait_until(engine, lambda: all(len(stream.tokens) > 2 for stream in ambient))
    interrupt(engine, "Is it lit?")
    assert not any(stream.done for stream in ambient)
    engine.pace(None)
    finish_all(engine, ambient)
    assert [(stream.finish, len(stream.tokens)) for stream in ambient] == [("length", 60)] * 2


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
def test_who_was_interrupted_goes_on_where_she_was_and_says_the_same(
    tiny: Path, make_engine: Make, tmp_path: Path, kind: str
) -> None:
    model = tiny if kind == "attention" else make_recurrent(tmp_path / "mamba.gguf")
    engine = make_engine(model, context=512, draft=0)  # a draft is decoded in a batch, which rounds otherwise
    whole = ramble(engine)
    finish_all(engine, [whole])
    interrupt(engine, "something else, so that nothing of it is left")
    before = engine._worker.decoded
    engine.pace(SLOWLY)
    pieces = ramble(engine)
    for said in (3, 9, 20):
        wait_until(engine, lambda said=said: len(pieces.tokens) >= said)  # type: ignore[misc]
        interrupt(engine, f"{said}?")
        assert not pieces.done
    engine.pace(None)
    finish_all(engine, [pieces])
    assert pieces.tokens == whole.tokens and pieces.text == whole.text
    # nothing was computed twice: her own prompt and words, and three short questions
    assert engine._worker.decoded - before < pieces.stats.prompt_tokens + 60 + 3 * 10
