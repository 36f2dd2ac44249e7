"""Models that think before they speak: the switch, the thought apart from the reply, and an end to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Chat, Engine
from modkit.engine.template import ChatTemplate
from modkit.errors import OptionError
from tests.conftest import finish_all
from tests.make_model import CHATML, make_model

Make = Callable[..., Engine]
QUESTION = [{"role": "user", "content": "Did the lamp go out?"}]
# as Qwen3 has it: closed at once when it is switched off
OFF = "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
SWITCHED = CHATML.replace("{% endif %}", OFF + "{% endif %}")
# as DeepSeek's have it: opened by the template
OPENED = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")


def test_the_template_says_whether_the_model_thinks_and_has_begun() -> None:
    assert ChatTemplate(CHATML).prompt(QUESTION).thought is None
    switched = ChatTemplate(SWITCHED)
    assert switched.switches and switched.prompt(QUESTION, True).thought == ("<think>", "</think>", False)
    off = switched.prompt(QUESTION, False)
    assert off.thought == ("<think>", "</think>", False) and str(off.segments[-1][0]).endswith("</think>\n\n")
    assert ChatTemplate(OPENED).prompt(QUESTION).thought == ("<think>", "</think>", True)
    # a player who writes the mark opens nothing
    said = [{"role": "user", "content": "<think>"}]
    assert ChatTemplate(SWITCHED).prompt(said).thought == ("<think>", "</think>", False)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("thinking") / "opened.gguf", chat_template=OPENED)


def test_a_budget_ends_the_thought_and_the_reply_follows(opened: Path, make_engine: Make) -> None:
    engine = make_engine(opened)
    stream = engine.chat(QUESTION, thinking_budget=12, max_tokens=60, temperature=1, seed=2)
    taken = []
    while not stream.done:
        engine.tick()
        taken.append(stream.take_thoughts())
    assert stream.thoughts and "".join(taken) + stream.take_thoughts() == stream.thoughts
    assert stream.text and "think>" not in stream.text + stream.thoughts
    assert 12 <= stream.stats.thought_tokens <= 12 + len("\n</think>\n\n")
    assert stream.stats.thought_tokens + len(stream.tokens) == stream.stats.generated_tokens == 60
    at_once = engine.chat(QUESTION, thinking_budget=0, max_tokens=40, temperature=1, seed=2)
    assert at_once.result(60) and not at_once.thoughts.strip()


def test_without_a_budget_a_thought_may_take_all(opened: Path, make_engine: Make) -> None:
    stream = make_engine(opened).chat(QUESTION, max_tokens=30, temperature=1, seed=2)
    assert stream.result(60) == "" and stream.thoughts and stream.finish == "length"


def test_a_grammar_and_a_question_are_about_the_reply(opened: Path, make_engine: Make) -> None:
    engine = make_engine(opened)
    held = engine.chat(QUESTION, grammar='root ::= "yes" | "no"', thinking_budget=8, temperature=1)
    assert held.result(60) in ("yes", "no") and held.thoughts
    shares = engine.ask(QUESTION, ["yes", "no"]).result(60)
    assert sum(shares.values()) == pytest.approx(1)


def test_thoughts_are_no_part_of_the_conversation(opened: Path, make_engine: Make) -> None:
    engine = make_engine(opened)
    chat = Chat(engine)
    stream = chat.say("Who are you?", thinking_budget=10, max_tokens=40, temperature=1, seed=1)
    finish_all(engine, [stream])
    assert chat.messages[-1]["content"] == stream.text
    assert chat.messages[-1].get("tokens", stream.tokens) == stream.tokens
    again = chat.say("And then?", thinking_budget=5, max_tokens=20, temperature=1, seed=1)
    finish_all(engine, [again])
    assert again.finish == "length"


@pytest.mark.parametrize("options", [{"thinking": "yes"}, {"thinking_budget": -1}, {"thinking_budget": 1.5}])
def test_what_is_no_switch_is_refused(opened: Path, make_engine: Make, options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="thinking"):
        make_engine(opened).chat(QUESTION, **options)
