"""`modkit.testing`: a fake engine keeps the protocol of the real one, tick by tick."""

from __future__ import annotations

import pytest

from modkit.engine.stream import Stream
from modkit.errors import EngineClosed, EngineDied, ModelError, OptionError
from modkit.testing import FakeEngine, FakeRequest, ManualClock


def spoken(stream: Stream, engine: FakeEngine, ticks: int) -> list[str]:
    pieces = []
    for _ in range(ticks):
        engine.tick()
        pieces.append(stream.take())
    return pieces


def test_it_speaks_its_script_at_its_pace() -> None:
    engine = FakeEngine(["The lamp is lit.", "Again."], pace=0.5)
    first = engine.chat([{"role": "user", "content": "Is it lit?"}])
    assert isinstance(first, Stream)
    assert spoken(first, engine, 8) == ["", "The", "", " lamp", "", " is", "", " lit."]
    assert (first.text, first.finish, first.stats.generated_tokens) == ("The lamp is lit.", "stop", 4)
    assert engine.generate("And now?").result() == "Again."
    assert engine.generate("Once more?").result() == "The lamp is lit."
    assert [request.text for request in engine.requests] == ["Is it lit?", "And now?", "Once more?"]


def test_it_keeps_max_tokens_stop_strings_and_slots() -> None:
    engine = FakeEngine(["one two three. four"], slots=1)
    short = engine.generate("x", max_tokens=2)
    cut = engine.generate("x", stop=["."])
    assert spoken(cut, engine, 2) == ["", ""], "it waits for the only slot"
    assert (short.text, short.finish) == ("one two", "length")
    assert (cut.result(), cut.finish) == ("one two three", "stop")


def test_a_function_answers_what_it_was_asked() -> None:
    def answer(request: FakeRequest) -> str:
        return request.text.upper()

    engine = FakeEngine(answer)
    assert engine.chat(lambda: [{"role": "user", "content": "hello"}]).result() == "HELLO"


def test_cancel_ends_a_stream_without_another_word() -> None:
    engine = FakeEngine(["one two three four"])
    early, late = engine.generate("x"), engine.generate("x")
    early.cancel()
    ended: list[Stream] = []
    late.on_done(ended.append)
    assert spoken(late, engine, 2) == ["one", " two"]
    late.cancel()
    engine.tick()
    assert (early.text, early.finish) == ("", "cancelled")
    assert (late.text, late.finish, ended) == ("one two", "cancelled", [late])


def test_errors_end_streams_as_in_a_real_engine() -> None:
    def refused() -> list[dict[str, str]]:
        raise ModelError("no memories today")

    engine = FakeEngine([ModelError("at once"), ("two words", ModelError("after them"))])
    with pytest.raises(ModelError, match="at once"):
        engine.generate("x").result()
    failing = engine.generate("x")
    with pytest.raises(ModelError, match="after them"):
        failing.result()
    assert (failing.text, failing.finish) == ("two words", "error")
    with pytest.raises(ModelError, match="no memories"):
        engine.chat(refused).result()


def test_death_and_close_end_everything() -> None:
    engine = FakeEngine()
    stream = engine.generate("x")
    engine.die("an assertion")
    assert isinstance(stream.error, EngineDied)
    with pytest.raises(EngineDied):
        engine.tick()
    engine.tick()
    with pytest.raises(EngineDied):
        engine.generate("x")
    with FakeEngine() as other:
        open_stream = other.generate("x")
    assert isinstance(open_stream.error, EngineClosed)
    with pytest.raises(EngineClosed):
        other.generate("x")


def test_loading_takes_the_ticks_it_was_given() -> None:
    engine = FakeEngine(["word"], loading=4)
    stream = engine.generate("x")
    seen = []
    for _ in range(4):
        seen.append((engine.loading, engine.progress))
        engine.tick()
    assert seen == [(True, 0.0), (True, 0.25), (True, 0.5), (True, 0.75)]
    assert engine.ready and stream.text == "word"


def test_a_manual_clock_moves_only_forward_and_only_by_hand() -> None:
    clock = ManualClock(10.0)
    assert (clock(), clock()) == (10.0, 10.0)
    clock.advance(0.5)
    assert clock() == 10.5
    with pytest.raises(OptionError):
        clock.advance(-1)
    with pytest.raises(OptionError):
        FakeEngine([])
