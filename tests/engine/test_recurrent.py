"""A model that has a state instead of a KV cache: slower where it must be, never an assertion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Chat, Engine, native
from tests.conftest import finish_all
from tests.make_model import make_recurrent


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recurrent(tmp_path_factory.mktemp("recurrent") / "mamba.gguf")


def test_it_says_what_it_cannot_do(mamba: Path, make_engine: Callable[..., Engine], library: str | None) -> None:
    info = make_engine(mamba, context=256).info
    assert info["recurrent"] and not info["hybrid"]
    assert any("cannot be cut" in limit for limit in info["limits"])
    assert any("cannot be shifted" in limit for limit in info["limits"])
    plan = native.fit(mamba, vram="1GiB", context=256, library=library)
    assert plan.layers == plan.all_layers == 3 and plan.kv.gpu > 0


def test_prompts_that_agree_in_part_are_computed_anew_and_speak_alike(
    mamba: Path, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(mamba, context=256, slots=2)

    def say(prompt: str) -> str:
        return engine.generate(prompt, max_tokens=8, temperature=0).result(60)

    first, other = say("the lamp went out"), say("the lamp is in the harbour")
    assert (say("the lamp went out"), say("the lamp is in the harbour")) == (first, other)
    streams = [engine.generate("the lamp went out", max_tokens=8, temperature=0) for _ in range(4)]
    finish_all(engine, streams)
    assert {stream.text for stream in streams} == {first}


def test_a_chat_goes_on_and_outlives_a_full_context(mamba: Path, make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(mamba, context=192, slots=1)
    chat = Chat(engine, system="You keep the lamp.")
    for turn in range(12):
        stream = chat.say(f"what of the tide {turn}", max_tokens=12)
        finish_all(engine, [stream])
        assert stream.error is None and stream.finish in ("stop", "length")


def test_cancels_and_long_prompts_leave_it_whole(mamba: Path, make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(mamba, context=1024, slots=2)
    words = engine.generate("the lamp", max_tokens=8, temperature=0).result(60)
    for _ in range(10):
        stream = engine.generate("the harbour lamp " * 60, max_tokens=50)
        for _ in range(3):
            engine.tick()
        stream.cancel()
        finish_all(engine, [stream])
    assert engine.generate("the lamp", max_tokens=8, temperature=0).result(60) == words
