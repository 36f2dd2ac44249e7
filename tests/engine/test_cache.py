"""What a conversation need not compute twice: on real llama.cpp builds, models of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Chat, Engine
from modkit.errors import OptionError
from tests.conftest import finish_all

Make = Callable[..., Engine]
LAMP = "You are Sable, who keeps the harbour lamp and knows the tide. " * 6


def talk(engine: Engine, chats: list[Chat], turns: int) -> list[tuple[int, int, int]]:
    """Round robin; (turn, tokens that were computed, tokens that are new to the conversation) of each."""
    counts = []
    before = [0] * len(chats)
    for turn in range(turns):
        for i, chat in enumerate(chats):
            stream = chat.say(f"What of night {turn}, keeper {i}?", max_tokens=8, temperature=0)
            stream.result(60)
            stats = stream.stats
            counts.append((turn, stats.prompt_tokens - stats.cached_tokens, stats.prompt_tokens - before[i]))
            before[i] = stats.prompt_tokens + stats.generated_tokens
    return counts


def test_more_characters_than_slots_prefill_only_what_is_new(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", context=1024, slots=2)
    chats = [Chat(engine, f"You are keeper {i}. " + LAMP) for i in range(12)]
    for turn, computed, new in talk(engine, chats, 3):
        if turn > 0:
            assert computed <= new + 1  # the last token said was sampled and never decoded


def test_who_comes_back_says_what_was_said_without_leaving(models: Path, make_engine: Make) -> None:
    """A single slot, so that both engines decode the very same batches for her."""
    texts = []
    for others in (0, 3):
        engine = make_engine(models / "small.gguf", context=1024)
        chats = [Chat(engine, f"You are keeper {i}. " + LAMP) for i in range(1 + others)]
        talk(engine, chats, 4)
        texts.append([m["content"] for m in chats[0].messages])
    assert texts[0] == texts[1]


def test_a_persona_that_many_share_is_computed_once(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", context=1024, slots=3)
    first = Chat(engine, LAMP).say("Who are you?", max_tokens=4, temperature=0)
    first.result(60)
    streams = [Chat(engine, LAMP).say(f"And you, {i}?", max_tokens=4, temperature=0) for i in range(6)]
    finish_all(engine, streams)
    for stream in streams:
        assert stream.stats.prompt_tokens - stream.stats.cached_tokens < 40


def test_a_pinned_prompt_is_kept_for_the_next_that_begins_with_it(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=1024)
    engine.generate(LAMP + "one", max_tokens=2, pin=100).result(60)
    engine.generate("something else, and long enough to take the place of it" * 3, max_tokens=2).result(60)
    again = engine.generate(LAMP + "two", max_tokens=2)
    again.result(60)
    assert again.stats.cached_tokens >= 100


@pytest.mark.parametrize("given", [-1, "many", 1.5, True])
def test_a_bad_budget_is_refused_by_name(tiny: Path, given: object) -> None:
    with pytest.raises(OptionError, match="size"):
        Engine(tiny, cache_ram=given)  # type: ignore[arg-type]


def test_a_bad_pin_is_refused_by_name(tiny: Path, make_engine: Make) -> None:
    with pytest.raises(OptionError, match="pin"):
        make_engine(tiny).generate("x", pin=-1)


def test_those_who_come_together_wait_for_their_persona_and_share_it(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", context=1024, slots=6)
    streams = [Chat(engine, LAMP).say(f"And you, {i}?", max_tokens=4, temperature=0) for i in range(6)]
    finish_all(engine, streams)
    computed = [stream.stats.prompt_tokens - stream.stats.cached_tokens for stream in streams]
    assert max(computed[1:]) < 40


def test_slots_share_among_themselves_when_nothing_is_stored(models: Path, make_engine: Make) -> None:
    """llama.cpp copies the whole sequence in the next decode; what is behind the shared beginning is cut off."""
    shared = make_engine(models / "small.gguf", context=1024, slots=3, cache_ram=0)
    streams = [Chat(shared, LAMP).say(words, max_tokens=12, temperature=0) for words in ("Hm?", "And you?", "Who?")]
    finish_all(shared, streams)
    assert all(stream.stats.cached_tokens > 100 for stream in streams[1:])
    assert [stream.finish for stream in streams] == ["length"] * 3
    # the copy is the original: who was copied goes on as if she had computed it all
    original = make_engine(models / "small.gguf", context=1024, slots=1, cache_ram=0)
    Chat(original, LAMP).say("Hm?", max_tokens=12, temperature=0).result(60)
    again = Chat(original, LAMP).say("And you?", max_tokens=12, temperature=0)
    assert again.result(60)
    assert again.stats.cached_tokens == streams[1].stats.cached_tokens
