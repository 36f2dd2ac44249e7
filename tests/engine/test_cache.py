"""What a conversation need not compute twice: on real llama.cpp builds, models of random weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Chat, Engine, Stream
from modkit.errors import ContextOverflow, OptionError
from tests.conftest import finish_all

Make = Callable[..., Engine]
# trained, so that its likeliest token stays that, in whatever slices a prompt is computed
SABLE = Path(__file__).parents[2] / "examples" / "npc_character" / "sable.gguf"
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


def views(stream: Stream) -> dict[int, float]:
    """What the model thinks of the first token: log-probabilities of the likeliest."""
    first = stream.logprobs[0]
    return {other.token: other.logprob for other in first.top}


def agree(one: dict[int, float], other: dict[int, float], within: float = 0.1) -> bool:
    """To the bit they never do: a slice of another size rounds otherwise."""
    shared = one.keys() & other.keys()
    return len(shared) >= 6 and all(abs(one[token] - other[token]) < within for token in shared)


def test_who_comes_back_thinks_what_she_would_have_thought_without_leaving(make_engine: Make) -> None:
    talks = [[{"role": "system", "content": f"You are keeper {i}. " + LAMP}] for i in range(4)]
    said = [{"role": "assistant", "content": "The lamp is lit."}, {"role": "user", "content": "And the tide?"}]
    seen = []
    for others in (0, 3):
        engine = make_engine(SABLE, context=1024)
        for talk in talks[: 1 + others]:
            engine.chat([*talk, {"role": "user", "content": "Good evening."}], max_tokens=2).result(60)
        back = engine.chat(
            [*talks[0], {"role": "user", "content": "Good evening."}, *said], max_tokens=1, temperature=0, logprobs=10
        )
        back.result(60)
        assert back.stats.cached_tokens > 80
        seen.append(views(back))
    assert agree(*seen)


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


def test_who_changes_places_to_sit_beside_who_speaks_forgets_nothing(make_engine: Make) -> None:
    """Between those who speak sit others, who say nothing: their caches change places; nothing is stored elsewhere."""
    engine, alone = make_engine(SABLE, context=512, slots=6, cache_ram=0), make_engine(SABLE, context=512)
    chats = [Chat(engine, f"You are keeper {i}. " + LAMP) for i in range(6)]
    before = [0] * 6
    for who in (range(6), (0, 2, 4), (5, 1, 3), (0, 3), (1, 4, 5), (5, 2, 0)):
        streams = [chats[i].say("And the tide?", max_tokens=8, temperature=0, logprobs=10) for i in who]
        finish_all(engine, streams)
        for i, stream in zip(who, streams):
            assert stream.stats.cached_tokens >= before[i] - 1, "the last token said was sampled and never decoded"
            before[i] = stream.stats.prompt_tokens + stream.stats.generated_tokens
            fresh = alone.chat(chats[i].messages[:-1], max_tokens=1, temperature=0, logprobs=10)
            fresh.result(60)
            assert agree(views(fresh), views(stream), within=0.3), "replies that were said round otherwise than if read"


def test_slots_share_among_themselves_when_nothing_is_stored(make_engine: Make) -> None:
    """llama.cpp copies the whole sequence in the next decode; what is behind the shared beginning is cut off."""
    questions = ("Hm?", "Is the tide high tonight?", "Who keeps the lamp?")
    shared = make_engine(SABLE, context=512, slots=3, cache_ram=0)
    options = {"max_tokens": 1, "temperature": 0, "logprobs": 10}
    streams = [Chat(shared, LAMP).say(words, **options) for words in questions]
    finish_all(shared, streams)
    assert all(stream.stats.cached_tokens > 60 for stream in streams[1:])
    alone = make_engine(SABLE, context=512, cache_ram=0)
    for words, stream in zip(questions, streams):
        fresh = Chat(alone, LAMP).say(words, **options)
        fresh.result(60)
        assert agree(views(fresh), views(stream))


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for states, and a home for the key of a user who has none yet."""
    monkeypatch.setenv("MODKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "states"


def first_turn(engine: Engine) -> tuple[Stream, int]:
    stream = Chat(engine, LAMP).say("Who are you?", max_tokens=1, temperature=0, logprobs=10)
    stream.result(60)
    engine.close()
    return stream, stream.stats.cached_tokens


def test_a_persona_is_read_back_in_the_next_run(make_engine: Make, state_folder: Path) -> None:
    def made() -> Engine:
        return make_engine(SABLE, context=1024, cache_dir=state_folder)

    first, cached = first_turn(made())
    assert cached == 0
    again, cached = first_turn(made())
    assert agree(views(again), views(first))
    assert cached > 60
    assert len(list(state_folder.iterdir())) == 1


def test_states_move_to_disk_when_memory_is_full(models: Path, make_engine: Make, state_folder: Path) -> None:
    engine = make_engine(models / "small.gguf", context=1024, cache_ram="1MiB", cache_dir=state_folder)
    chats = [Chat(engine, f"You are keeper {i}. " + LAMP) for i in range(10)]
    for turn, computed, new in talk(engine, chats, 3):
        if turn > 0:
            assert computed <= new + 1
    assert len(list(state_folder.iterdir())) > 5


def test_damaged_and_foreign_states_are_computed_again(
    models: Path, make_engine: Make, state_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def made(model: str = "small.gguf") -> Engine:
        return make_engine(models / model, context=1024, cache_dir=state_folder)

    first_turn(made())
    (file,) = state_folder.iterdir()
    good = file.read_bytes()
    for place in (0, 9, 20, 50, 100, 500, len(good) // 2, len(good) - 1):
        damaged = good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :]
        file.write_bytes(damaged)
        assert first_turn(made())[1] == 0
        written = file.read_bytes()  # not the same to the bit: a slice of another size rounds otherwise
        assert written != damaged and len(written) == len(good), "the good state was not written again"
    for length in (0, 40, 200, len(good) - 1):
        file.write_bytes(good[:length])
        assert first_turn(made())[1] == 0
    assert first_turn(made())[1] > 100
    assert first_turn(made("tiny.gguf"))[1] == 0, "another model's state was taken"
    file.write_bytes(good)
    monkeypatch.setenv("MODKIT_HOME", str(tmp_path / "somebody else"))
    assert first_turn(made())[1] == 0


def test_the_key_is_for_its_user_alone(tiny: Path, make_engine: Make, state_folder: Path) -> None:
    make_engine(tiny, cache_dir=state_folder)
    key = state_folder.parent / "home" / "state.key"
    first = key.read_bytes()
    assert len(first) == 16
    assert key.stat().st_mode & 0o077 == 0 or os.name == "nt"
    make_engine(tiny, cache_dir=state_folder)
    assert key.read_bytes() == first
    if os.name != "nt":
        key.chmod(0o644)
        make_engine(tiny, cache_dir=state_folder)
        assert key.read_bytes() != first
    assert [path.name for path in key.parent.iterdir()] == ["state.key"]


def test_a_cache_folder_that_cannot_be_made_is_refused_by_name(tiny: Path, state_folder: Path) -> None:
    state_folder.write_text("a file")
    with pytest.raises(OptionError, match="cache_dir"):
        Engine(tiny, cache_dir=state_folder / "deeper")


def tell(i: int) -> str:
    return f"Tell me of night {i}, of the oil, and of who came to the harbour."


def test_a_talk_longer_than_the_context_moves_up_and_goes_on(make_engine: Make) -> None:
    engine = make_engine(SABLE, context=512)
    chat = Chat(engine, LAMP)
    told: list[int] = []
    for i in range(30):
        stream = chat.say(tell(i), max_tokens=24, temperature=0)
        stream.on_dropped(lambda turns, tokens: told.append(turns))
        stream.result(60)
        stats = stream.stats
        assert stats.prompt_tokens < 512
        if i:  # what is behind the turns that left is not computed again
            assert stats.prompt_tokens - stats.cached_tokens < 80
    assert len(told) > 2
    assert chat.messages[0] == {"role": "system", "content": LAMP}
    assert [m["role"] for m in chat.messages[1:]] == ["user", "assistant"] * (len(chat.messages) // 2)
    assert chat.messages[-2]["content"] == tell(29)
    assert sum(told) + len(chat.messages) // 2 == 30


def test_a_reply_goes_on_when_the_context_is_full(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=256)
    chat = Chat(engine, "You are Sable.")
    for i in range(3):
        chat.say(f"Night {i}", max_tokens=20, temperature=1, seed=i).result(60)
    stream = chat.say("Go on, and on.", max_tokens=900, temperature=1, seed=2)
    stream.result(60)
    assert (stream.finish, stream.stats.generated_tokens) == ("length", 900)
    assert stream.stats.dropped_turns == 3
    assert stream.stats.dropped_tokens > 500
    again = chat.say("And now?", max_tokens=5)
    again.result(60)
    assert again.finish == "length"
    bare = engine.generate("the lamp", max_tokens=900, temperature=1, seed=2)
    bare.result(60)
    assert bare.stats.generated_tokens < 256, "without a pin, a bare prompt ends where the context does"


def test_what_is_too_long_is_refused_and_the_talk_is_not_poisoned(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=256)
    chat = Chat(engine, "You are Sable.")
    chat.say("Good evening.", max_tokens=5, temperature=0).result(60)
    before = list(chat.messages)
    stream = chat.say("and on " * 400, max_tokens=5)
    with pytest.raises(ContextOverflow, match="shorten it"):
        stream.result(60)
    assert chat.messages == before
    assert chat.say("Is it lit?", max_tokens=5, temperature=0).result(60)
    trimmed = chat.say("and on " * 400, max_tokens=5, overflow="trim")
    trimmed.result(60)
    assert trimmed.stats.dropped_tokens > 100
    with pytest.raises(OptionError, match="overflow"):
        chat.say("x", overflow="burst")
