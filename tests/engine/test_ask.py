"""Answers weighed by their logits, by real llama.cpp over random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import ContextOverflow, EngineClosed, EngineError, OptionError
from modkit.testing import FakeEngine
from tests.conftest import finish_all, wait_until

Make = Callable[..., Engine]
QUESTION = [{"role": "user", "content": "Did the lamp go out?"}]


def test_the_shares_are_those_of_the_models_own_distribution(tiny: Path, make_engine: Make) -> None:
    """The byte vocabulary has each letter as a token: the shares are the softmax of their log-probabilities."""
    engine = make_engine(tiny)
    told = engine.generate("the lamp", max_tokens=1, temperature=0, logprobs=20)
    told.result(60)
    letters = {t.text: t.logprob for t in told.logprobs[0].top if len(t.text) == 1 and t.text.isalpha()}
    assert len(letters) >= 2
    answer = engine.ask("the lamp", list(letters)).result(60)
    total = sum(math.exp(v) for v in letters.values())
    assert answer == pytest.approx({k: math.exp(v) / total for k, v in letters.items()}, abs=1e-4)


def test_a_choice_of_several_tokens_is_weighed_by_all_of_them(tiny: Path, make_engine: Make) -> None:
    """log p(ab) = log p(a) + log p(b behind a), whatever else is asked along with it."""
    engine = make_engine(tiny)

    def logprob(prompt: str, letter: str) -> float:
        # the shares of ten letters say how two of them compare
        shares = engine.ask(prompt, list("xyqzjvkb01")).result(60)
        return math.log(shares[letter])

    shares = engine.ask("the lamp", ["xq", "yz", "xj"]).result(60)
    assert sum(shares.values()) == pytest.approx(1)
    expected = logprob("the lampx", "q") - logprob("the lampx", "j")
    assert math.log(shares["xq"] / shares["xj"]) == pytest.approx(expected, abs=1e-3)


def test_questions_and_speech_share_the_engine(models: Path, make_engine: Make) -> None:
    engine = make_engine(models / "small.gguf", slots=2)
    before = engine.chat(QUESTION, max_tokens=40, temperature=0).result(60)
    alone = engine.ask(QUESTION, ["yes", "no", "who knows"]).result(60)
    stream = engine.chat(QUESTION, max_tokens=40, temperature=0)
    answers = [engine.ask(QUESTION, ["yes", "no", "who knows"], priority="ambient") for _ in range(6)]
    finish_all(engine, [stream, *answers])  # type: ignore[list-item]
    assert stream.text == before
    for answer in answers:
        assert answer.result() == pytest.approx(alone, abs=1e-3)
    assert max(a.stats.cached_tokens for a in answers) > 0


def test_a_choice_that_another_begins_with_can_win(models: Path, make_engine: Make) -> None:
    shares = make_engine(models / "ends.gguf").ask("the lamp", ["a", "ab", "abc"]).result(60)
    assert set(shares) == {"a", "ab", "abc"} and sum(shares.values()) == pytest.approx(1)


def test_questions_may_come_early_late_and_be_cancelled(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny, load=False)
    early = engine.ask(QUESTION, ["yes", "no"])
    made_later = engine.ask(lambda: QUESTION, ["yes", "no"])
    finish_all(engine, [early, made_later])  # type: ignore[list-item]
    assert early.result() == pytest.approx(made_later.result(), abs=1e-4)
    cancelled = engine.ask("the lamp " * 200, ["yes", "no"])
    cancelled.cancel()
    wait_until(engine, lambda: cancelled.done)
    with pytest.raises(EngineError, match="cancelled"):
        cancelled.result()
    with pytest.raises(ContextOverflow):
        engine.ask("x" * 10_000, ["yes", "no"]).result(60)
    last = engine.ask("the lamp " * 300, ["yes", "no"])
    engine.close()
    assert isinstance(last.error, EngineClosed)


@pytest.mark.parametrize("choices", ["yes", [], ["yes"], ["a", "a"], ["a", ""], ["a", 5], None, ["x" * 2000, "y"]])
def test_choices_that_are_none_are_refused_by_name(tiny: Path, make_engine: Make, choices: object) -> None:
    engine = make_engine(tiny)
    with pytest.raises(OptionError, match="choices"):
        engine.ask("x", choices)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        engine.ask("", ["a", "b"])


def test_a_fake_engine_decides_by_its_script() -> None:
    engine = FakeEngine(["no", "no idea"])
    first, second = engine.ask(QUESTION, ["yes", "no"]), engine.ask("so?", ["yes", "no", "maybe"])
    engine.tick()
    assert first.result() == pytest.approx({"yes": 0.1, "no": 0.9})
    assert second.result()["yes"] == 0.9
