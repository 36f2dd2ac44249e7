"""What a game may rely on when it ticks an engine: real llama.cpp, models of random weights."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Chat, Engine
from modkit.errors import (
    ContextOverflow,
    EngineClosed,
    EngineDied,
    OptionError,
    QueueFull,
    StreamTimeout,
    WrongThread,
)
from tests.conftest import finish_all, wait_until

Make = Callable[..., Engine]


def test_an_engine_is_made_at_once_and_loads_while_the_game_ticks(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, load=False)
    assert engine.loading and not engine.ready
    wait_until(engine, lambda: engine.ready)
    assert engine.progress == 1.0
    assert engine.name == "test model"


def test_text_arrives_in_pieces_that_make_the_whole(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    stream = engine.generate("the lamp", max_tokens=400, seed=5, temperature=1.0)
    taken = []
    while not stream.done:
        engine.tick()
        taken.append(stream.take())
    taken.append(stream.take())
    assert "".join(taken) == stream.text
    assert sum(map(bool, taken)) > 1
    assert stream.take() == ""


def test_the_same_seed_gives_the_same_text(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    texts = {engine.generate("oil", max_tokens=40, seed=11).result(30) for _ in range(3)}
    others = {engine.generate("oil", max_tokens=40, seed=s).result(30) for s in range(5)}
    assert len(texts) == 1
    assert len(others) > 1


def test_streams_spoken_together_say_what_each_says_alone(models: Path, make_engine: Make) -> None:
    """Greedy text must not depend on who else is in the batch."""
    prompts = [
        "the lamp went out",
        "who is the keeper of the light",
        "ship",
        "what did you do last night in the harbour",
    ]
    alone = make_engine(models / "small.gguf")
    expected = [alone.generate(p, max_tokens=24, temperature=0).result(30) for p in prompts]
    together = make_engine(models / "small.gguf", slots=4)
    streams = [together.generate(p, max_tokens=24, temperature=0) for p in prompts]
    finish_all(together, streams)
    assert [s.text for s in streams] == expected


def test_more_requests_than_slots_wait_their_turn(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, slots=2)
    streams = [engine.generate("tide", max_tokens=10, temperature=1, seed=i) for i in range(9)]
    finish_all(engine, streams)
    assert all(s.finish in ("stop", "length") for s in streams)


def test_the_models_end_of_turn_ends_the_reply(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "ends.gguf")
    streams = [engine.generate("tide", max_tokens=2000, temperature=2, top_k=0, min_p=0, seed=i) for i in range(8)]
    finish_all(engine, streams)
    assert {s.finish for s in streams} == {"stop"}
    assert all("<|im_end|>" not in s.text for s in streams)


def test_stop_strings_end_the_reply_and_are_not_part_of_it(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    whole = engine.generate("the", max_tokens=60, temperature=0).result(30)
    stop = whole[10:14]
    stream = engine.generate("the", max_tokens=60, temperature=0, stop=[stop])
    seen = []
    while not stream.done:
        engine.tick()
        seen.append(stream.take())
    assert stream.finish == "stop"
    assert stream.text == whole[: whole.index(stop)]
    assert "".join(seen) + stream.take() == stream.text


def test_every_piece_is_whole_characters(tiny: Path, make_engine: Make) -> None:
    """The vocabulary has a token per byte, so random sampling breaks characters all the time."""
    engine = make_engine(tiny)
    for seed in range(10):
        stream = engine.generate("lamp", max_tokens=100, temperature=5.0, top_k=0, top_p=1, min_p=0, seed=seed)
        while not stream.done:
            engine.tick()
            stream.take().encode("utf-8")  # a lone surrogate would raise
        assert stream.finish in ("stop", "length")


def test_cancel_right_after_submit_yields_no_text(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    for _ in range(50):
        stream = engine.generate("the lamp", max_tokens=50)
        stream.cancel()
        finish_all(engine, [stream])
        assert (stream.finish, stream.text, stream.tokens) == ("cancelled", "", ())


def test_cancel_in_mid_sentence_freezes_the_text(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=8000)
    stream = engine.generate("the lamp", max_tokens=5000, temperature=1, min_p=0, seed=3)
    wait_until(engine, lambda: len(stream.text) > 5 or stream.done)
    frozen = stream.text
    stream.cancel()
    finish_all(engine, [stream])
    assert stream.finish == "cancelled"
    assert stream.text == frozen


def test_a_cancelled_long_prefill_is_over_soon_and_nobody_else_notices(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", slots=3, context=4096, threads=1)
    others = [engine.generate("the keeper", max_tokens=4000, temperature=1, min_p=0, seed=i) for i in range(2)]
    wait_until(engine, lambda: all(o.text for o in others))
    spoken = [len(o.tokens) for o in others]
    long = engine.generate("the lamp " * 1500, max_tokens=10)
    wait_until(engine, lambda: long.stats.prompt_tokens > 0)
    long.cancel()
    finish_all(engine, [long])
    assert long.finish == "cancelled" and long.text == ""
    wait_until(engine, lambda: all(len(o.tokens) > n + 5 or o.done for o, n in zip(others, spoken, strict=True)))
    assert all(o.finish in (None, "stop") for o in others)


def test_close_in_the_middle_of_a_prefill_is_prompt(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", context=8000)
    stream = engine.generate("the lamp and the oil " * 600, max_tokens=10)
    wait_until(engine, lambda: stream.stats.prompt_tokens > 0)
    engine.close()
    assert stream.finish == "error"
    assert isinstance(stream.error, EngineClosed)
    with pytest.raises(EngineClosed):
        engine.generate("more")


def test_a_prompt_longer_than_the_context_is_refused_and_the_engine_goes_on(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=64)
    stream = engine.generate("x" * 500)
    with pytest.raises(ContextOverflow, match=r"500 tokens.*64"):
        stream.result(30)
    assert engine.generate("the lamp", max_tokens=5).result(30)


def test_a_reply_that_fills_the_context_ends_with_length(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=64)
    for seed in range(20):
        stream = engine.generate("a", max_tokens=1000, temperature=1, seed=seed)
        stream.result(30)
        assert stream.finish in ("length", "stop")
        assert stream.stats.prompt_tokens + stream.stats.generated_tokens <= 64


def test_nobody_ticking_stops_the_worker_and_loses_nothing(
    tiny: Path, make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modkit.native.settings.RING_BYTES", 1 << 15)
    engine = make_engine(tiny, slots=2, context=2048)
    streams = [engine.generate("the", max_tokens=1000, temperature=1, seed=i) for i in range(4)]
    before = -1
    while engine._worker.decoded != before:  # until the ring is full and the worker rests
        before = engine._worker.decoded
        time.sleep(0.3)
    assert before < 4000, "the worker went on although nobody listened"
    finish_all(engine, streams)
    for stream in streams:
        assert stream.finish in ("stop", "length")
        assert len(stream.tokens) == stream.stats.generated_tokens


def test_pause_holds_the_words_and_resume_lets_them_flow(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    engine.pause()
    stream = engine.generate("the lamp", max_tokens=5)
    for _ in range(50):
        engine.tick()
        time.sleep(0.001)
    assert not stream.tokens
    engine.resume()
    finish_all(engine, [stream])
    assert stream.finish in ("stop", "length")


def test_a_failed_assertion_ends_the_engine_and_not_the_process(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    stream = engine.generate("the lamp", max_tokens=2000)
    engine._worker.fail_assertion()
    with pytest.raises(EngineDied, match="an assertion that a test asked for"):
        wait_until(engine, lambda: False)
    assert stream.finish == "error" and isinstance(stream.error, EngineDied)
    engine.tick()  # said once; a game that goes on ticking is not punished
    with pytest.raises(EngineDied):
        engine.generate("more")
    engine.close()
    assert make_engine(tiny).generate("the lamp", max_tokens=5, temperature=0).result(30)


def test_another_thread_is_told_where_to_call(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    caught: list[BaseException] = []

    def intrude() -> None:
        try:
            engine.tick()
        except WrongThread as error:
            caught.append(error)

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    assert "engine.attach()" in str(caught[0])


def test_result_times_out_by_name_and_the_stream_goes_on(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    engine.pause()
    stream = engine.generate("the lamp", max_tokens=5)
    with pytest.raises(StreamTimeout):
        stream.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        stream.result(timeout=0.01)
    engine.resume()
    stream.result(30)
    assert stream.finish in ("stop", "length")


def test_too_many_requests_are_refused_by_name(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    engine.pause()
    streams = []
    with pytest.raises(QueueFull):
        for _ in range(2000):
            streams.append(engine.generate("x", max_tokens=1))
    for stream in streams:
        stream.cancel()
    engine.resume()
    finish_all(engine, streams)
    assert {s.finish for s in streams} == {"cancelled"}


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 2},
        {"top_k": -1},
        {"seed": 2**32},
        {"stop": ["x" * 300]},
        {"stop": ["a"] * 17},
        {"stop": 5},
        {"repeat_penalty": 0},
        {"colour": "red"},
    ],
)
def test_bad_options_are_refused_by_name(tiny: Path, make_engine: Make, options: dict[str, object]) -> None:
    engine = make_engine(tiny)
    with pytest.raises(OptionError) as caught:
        engine.generate("x", **options)
    assert isinstance(caught.value, ValueError)
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"context": 0}, {"slots": 65}, {"threads": 0}, {"gpu_layers": "most"}, {"vram_budget": "much"}]
)
def test_bad_settings_are_refused_by_name(tiny: Path, settings: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(settings))}|size"):
        Engine(tiny, **settings)  # type: ignore[arg-type]


def test_penalties_and_samplers_reach_the_library(tiny: Path, make_engine: Make) -> None:
    """A strong repeat penalty makes greedy text repeat fewer tokens."""
    engine = make_engine(tiny)

    def variety(**options: float) -> float:
        stream = engine.generate("the", max_tokens=200, temperature=0, **options)
        stream.result(30)
        return len(set(stream.tokens)) / max(1, len(stream.tokens))

    assert variety(repeat_penalty=3.0, repeat_last_n=200) > variety()


def test_a_coroutine_that_awaits_a_reply_resumes_with_its_text(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    heard: list[str] = []

    async def listen() -> str:
        async for words in engine.generate("the lamp", max_tokens=400, temperature=1, seed=1):
            heard.append(words)
        return await engine.generate("oil", max_tokens=5, temperature=0)

    coroutine = listen()
    waiting = coroutine.send(None)
    result = None
    for _ in range(100_000):
        engine.tick()
        if waiting.ready():
            try:
                waiting = coroutine.send(None)
            except StopIteration as end:
                result = end.value
                break
        time.sleep(0.0002)
    assert result
    assert len(heard) > 1


def test_each_turn_prefills_only_its_own_tokens(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=4096)
    chat = Chat(engine, "You are Sable, who keeps the lamp.")
    total = 0
    for turn in range(8):
        stream = chat.say(f"What did you do in the night {turn}?", max_tokens=20, temperature=1, seed=turn)
        stream.result(30)
        if turn:
            # all but the last token said, which was sampled and never decoded
            assert stream.stats.cached_tokens >= total - 1
        total = stream.stats.prompt_tokens + stream.stats.generated_tokens
    assert [m["role"] for m in chat.messages] == ["system"] + ["user", "assistant"] * 8


def test_a_chat_longer_than_the_context_drops_its_oldest_turns_and_goes_on(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, context=512)
    chat = Chat(engine, "You are Sable.")
    for turn in range(30):
        stream = chat.say(f"Tell me of night {turn} and of the oil.", max_tokens=30, temperature=1, seed=turn)
        stream.result(30)
        assert stream.finish in ("stop", "length")
    assert chat.messages[0] == {"role": "system", "content": "You are Sable."}
    assert len(chat.messages) < 40


def test_ten_thousand_ticks_with_random_cancels_lose_nothing(tiny: Path, make_engine: Make) -> None:
    """Every request ends exactly once, its events in order, and memory does not grow."""
    engine = make_engine(tiny, slots=8, context=512)
    dice = random.Random(4)
    ended: dict[int, int] = {}
    running = []
    memory = []
    submitted = 0
    for tick in range(10_000):
        if len(running) < 8:
            stream = engine.generate("the lamp " * dice.randrange(1, 20), max_tokens=dice.randrange(1, 40), seed=tick)
            stream.on_done(lambda s: ended.__setitem__(s.id, ended.get(s.id, 0) + 1))
            running.append(stream)
            submitted += 1
        if dice.random() < 0.05:
            dice.choice(running).cancel()
        engine.tick()
        for stream in running:
            if stream.done and stream.finish != "cancelled":
                assert len(stream.tokens) == stream.stats.generated_tokens
        running = [s for s in running if not s.done]
        if tick % 1000 == 999:
            finish_all(engine, running)
            running = []
            memory.append(resident_kib())
    finish_all(engine, running)
    assert len(ended) == submitted
    assert set(ended.values()) == {1}
    assert not engine._streams
    first, last = statistics.median(memory[2:5]), statistics.median(memory[-3:])
    assert last - first < 2048, f"grew from {first} to {last} KiB"


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")
