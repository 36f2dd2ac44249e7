"""`Grammar` as it is used: from types and choices, put together, asked without a model."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest

from modkit.errors import GrammarError
from modkit.native.grammar import Grammar, polite
from modkit.native.grammar.pytypes import schema_of, schema_of_parameters
from tests.native.grammar.test_gbnf import JSON


class Mood(enum.Enum):
    CALM = "calm"
    WARY = "wary"


@dataclasses.dataclass
class Item:
    name: Annotated[str, ["lamp", "rope"]]
    count: Annotated[int, range(1, 10)] = 1
    parts: Optional[list[Item]] = None  # noqa: UP045


class Talk(TypedDict, total=False):
    mood: Mood
    kind: Literal["say", "shout"]
    words: Annotated[str, re.compile("[a-z ]{1,20}")]
    place: tuple[float, float]
    tags: dict[str, bool]


class Limits:
    ge, lt, multiple_of = 3, 30, 3


def test_a_dataclass_and_its_limits() -> None:
    grammar = Grammar.from_type(Item)
    assert grammar.accepts('{"name":"lamp"}')
    assert grammar.accepts('{"name":"rope","count":9,"parts":[{"name":"lamp","parts":null}]}')
    for wrong in ('{"name":"axe"}', '{"name":"lamp","count":10}', '{"count":1}', '{"name":"lamp","other":1}'):
        assert not grammar.accepts(wrong)


def test_a_typed_dict() -> None:
    grammar = Grammar.from_type(Talk, spaces=False)
    assert grammar.accepts('{"mood":"wary","kind":"shout","words":"who is there","place":[1.5,-2],"tags":{"x":true}}')
    assert grammar.accepts("{}")
    for wrong in ('{"mood":"glad"}', '{"words":"A"}', '{"place":[1]}', '{"tags":{"x":1}}', '{"mood": "wary"}'):
        assert not grammar.accepts(wrong)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, "-12", "1.5"), (bool, "true", "1"), (None, "null", "0"), (list[int], "[1]", "[1,]"),
        (Any, '{"a":[]}', "a"),
        (Literal["a", 2, None], "2", '"b"'), (int | None, "null", '""'), (Annotated[int, Limits()], "27", "28"),
        (Annotated[int, range(2, 9, 3)], "5", "6"), (Annotated[str, lambda: ["x", "y"]], '"y"', '"z"'),
        (tuple[int, ...], "[1,2,3]", '["1"]'), (dict[str, int], '{"a":1}', '{"a":"1"}'), (float, "-2.5e3", ".5"),
    ],
    ids=str,
)  # fmt: skip
def test_plain_types(kind: Any, good: str, bad: str) -> None:
    grammar = Grammar.from_type(kind)
    assert grammar.accepts(good) and not grammar.accepts(bad)


def test_parameters_of_a_function() -> None:
    def give(npc: object, item: Annotated[str, ["lamp"], "what to hand over"], count: int = 1) -> str:
        """Hand something over."""
        return item * count

    schema = schema_of_parameters(give, skip=1)
    assert schema["properties"]["item"] == {"type": "string", "enum": ["lamp"], "description": "what to hand over"}
    assert (schema["required"], schema["additionalProperties"]) == (["item"], False)

    def untyped(item):  # type: ignore[no-untyped-def]
        return item

    with pytest.raises(GrammarError, match="untyped.*'item'.*a type"):
        schema_of_parameters(untyped)
    with pytest.raises(GrammarError, match="'things'"):
        schema_of_parameters(lambda *things: things)


@pytest.mark.parametrize("kind", [complex, dict[int, str], Path, "Item"])
def test_what_json_cannot_be_is_refused_by_name(kind: Any) -> None:
    with pytest.raises(GrammarError, match="no type"):
        schema_of(kind)


def test_other_peoples_models_know_their_schema() -> None:
    class Model:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}}

    assert Grammar.from_type(list[Model]).accepts('[{"a":1}]')
    assert not Grammar.from_type(list[Model]).accepts('[{"a":"1"}]')


def test_choices_are_exactly_these() -> None:
    grammar = Grammar.from_choices(['yes "indeed"', "no", "né\n"])
    assert all(grammar.accepts(text) for text in ('yes "indeed"', "no", "né\n"))
    assert not grammar.accepts("n") and grammar.begins("n") and not grammar.begins("x")
    for wrong in ([], [""], [1]):
        with pytest.raises(GrammarError):
            Grammar.from_choices(wrong)  # type: ignore[arg-type]


def test_grammars_are_put_together() -> None:
    name = Grammar.from_regex("[a-z]{1,6}") - ["if", "else"]
    call = name + "(" + Grammar.from_schema({"type": "integer"}).repeat(0, 3, ", ") + ")" | "pass"
    for text in ("f()", "iff(1, -2, 3)", "pass"):
        assert call.accepts(text), text
    for text in ("if(1)", "f(1, 2, 3, 4)", "f(1,2)", "passs", "else()"):
        assert not call.accepts(text), text
    again = Grammar(call.gbnf)
    for text in itertools.islice(call.members(3), 50):
        assert again.accepts(text) and not text.startswith("if(")
    assert Grammar.from_choices(["a"]).optional().accepts("")
    assert ("<" + Grammar.from_choices(["a"])).accepts("<a")


def test_what_cannot_be_subtracted_is_refused() -> None:
    with pytest.raises(GrammarError, match="recursive"):
        Grammar(JSON) - ["{}"]
    with pytest.raises(GrammarError, match="nothing is left"):
        Grammar.from_choices(["a"]) - "a"
    with pytest.raises(GrammarError, match="repeat"):
        Grammar.from_choices(["a"]).repeat(3, 2)


def test_next_says_what_may_follow() -> None:
    grammar = Grammar.from_schema({"type": "integer", "minimum": 5, "maximum": 12})
    after = grammar.next()
    assert "5" in after and "1" in after and "2" not in after and not after.end
    assert grammar.next("1").chars == ((ord("0"), ord("2")),)
    assert grammar.next("12").end and grammar.next("12").chars == ()
    assert not grammar.next("99").end


def test_lazy_keeps_the_language() -> None:
    grammar = Grammar.from_regex("<do:[a-z]+>").lazy("<do:")
    assert grammar.triggers == ("<do:",) and grammar.accepts("<do:wave>")


def test_members_are_the_same_for_the_same_seed_and_end() -> None:
    grammar = Grammar(JSON)
    assert [*itertools.islice(grammar.members(5), 20)] == [*itertools.islice(grammar.members(5), 20)]
    texts = [*itertools.islice(grammar.members(6, size=200), 100)]
    assert len(set(texts)) > 60 and all(
        isinstance(json.loads(t), dict) for t in texts if "\\u" not in t and "0" not in t
    )


def test_the_matcher_takes_ambiguous_and_deep_grammars() -> None:
    doubled = Grammar('root ::= "a" root "b" | "a" root "c" | "d"')
    assert doubled.accepts("a" * 300 + "d" + "bc" * 150)
    assert not doubled.accepts("a" * 300 + "d" + "bc" * 149)
    many = Grammar('root ::= x x x x x x\nx ::= "a"{0,20}')
    assert many.accepts("a" * 120) and not many.accepts("a" * 121)
    hidden = Grammar('root ::= a b c "."\na ::= "x"?\nb ::= a a\nc ::= b b | "y"')
    assert (
        hidden.accepts(".") and hidden.accepts("xxxxxxx.") and hidden.accepts("xxxy.") and not hidden.accepts("xxxxy.")
    )


def test_a_matcher_is_fed_piece_by_piece_and_copied() -> None:
    matcher = Grammar(JSON).matcher()
    assert matcher.feed('{"a": [1') and not matcher.complete
    other = matcher.copy()
    assert matcher.feed("]}") and matcher.complete
    assert not other.feed("}") and not other.alive and not other.feed("]}")


def test_a_grammar_that_names_tokens_is_not_matched_here() -> None:
    grammar = Grammar("root ::= <[12]> [a-z]")
    with pytest.raises(GrammarError, match="token"):
        grammar.accepts("a")
    with pytest.raises(GrammarError, match="token"):
        next(grammar.members())


def test_making_one_beside_a_frame_lets_go_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    clock = itertools.count()  # each look at it finds a second gone
    monkeypatch.setattr(polite, "time", SimpleNamespace(sleep=rests.append, perf_counter=lambda: float(next(clock))))
    schema = {"type": "object", "properties": {f"p{n}": {"type": "object", "required": ["x"]} for n in range(50)}}
    grammar = Grammar.from_schema(schema, closed=True)
    assert not rests  # nobody else waits for the thread that draws
    thread = threading.Thread(target=lambda: made.append(Grammar.from_schema(schema, closed=True)))
    made: list[Grammar] = []
    thread.start()
    thread.join()
    assert made == [grammar] and len(rests) > 200
