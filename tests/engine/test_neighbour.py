"""What an engine leaves to the game it lives in: the processor when there is nothing to say, and the pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import OptionError
from tests.conftest import finish_all, wait_until

Make = Callable[..., Engine]


def _computed_in(seconds: float) -> float:
    """Processor time that the process takes while this thread sleeps."""
    begun = time.process_time()
    time.sleep(seconds)
    return time.process_time() - begun


def test_an_engine_with_nothing_to_say_takes_no_processor_time(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, slots=4)
    finish_all(engine, [engine.generate("the lamp", max_tokens=20) for _ in range(4)])
    time.sleep(1.0)  # for the calibration, if the first request left some of it
    assert _computed_in(0.5) < 0.1


def test_a_reader_s_pace_leaves_the_processor_alone_and_says_the_same(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, slots=2)
    free = [engine.generate(text, max_tokens=40, temperature=0) for text in ("the lamp", "a ship")]
    finish_all(engine, free)
    engine.pace(20)
    begun = time.monotonic()
    paced = [engine.generate(text, max_tokens=40, temperature=0) for text in ("the lamp", "a ship")]
    wait_until(engine, lambda: all(stream.tokens for stream in paced))
    assert _computed_in(0.5) < 0.25
    finish_all(engine, paced)
    assert time.monotonic() - begun > 37 / 20
    assert [stream.text for stream in paced] == [stream.text for stream in free]
    engine.pace(0.01)  # a minute and more for each token
    slow = engine.generate("oil", max_tokens=30)
    wait_until(engine, lambda: bool(slow.tokens))
    engine.pace(None)
    finish_all(engine, [slow])
    assert len(slow.tokens) == 30


def test_a_paced_stream_is_cancelled_at_once_and_a_new_one_begins(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, slots=2)
    engine.pace(0.01)
    first = engine.generate("the tide", max_tokens=50)
    wait_until(engine, lambda: bool(first.tokens))
    second = engine.generate("the harbour", max_tokens=50)
    wait_until(engine, lambda: bool(second.tokens))
    first.cancel()
    wait_until(engine, lambda: first.done)
    assert first.finish == "cancelled" and not second.done


def test_late_frames_and_low_priority_change_nothing_of_what_is_said(tiny: Path, make_engine: Make) -> None:
    text = "the lamp and the tide " * 20
    usual = make_engine(tiny).generate(text, max_tokens=20, temperature=0).result(60)
    engine = make_engine(tiny, priority="low")
    stream = engine.generate(text, max_tokens=20, temperature=0)
    while not stream.done:
        engine.late(5.0)
        engine.tick()
    assert stream.text == usual


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True])
def test_a_pace_that_means_nothing_is_refused(tiny: Path, make_engine: Make, value: float) -> None:
    with pytest.raises(OptionError, match="pace"):
        make_engine(tiny).pace(value)


def test_priorities_are_words(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, slots=2)
    streams = [engine.generate("the lamp", max_tokens=5, priority=p) for p in ("player", "near", "ambient")]
    finish_all(engine, streams)
    with pytest.raises(OptionError, match="priority"):
        engine.generate("the lamp", priority="high")
    with pytest.raises(OptionError, match="late"):
        engine.late(-1)
