"""Replies held to a grammar and told with their probabilities, by real llama.cpp over random weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import GrammarError, OptionError
from modkit.native.grammar import Grammar
from tests.conftest import finish_all

Make = Callable[..., Engine]

JSON = r"""
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ( string ":" value ("," string ":" value){0,3} )? "}"
array ::= "[" ( value ("," value){0,3} )? "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}) ){0,12} "\""
number ::= "-"? ([0-9] | [1-9] [0-9]{0,5}) ("." [0-9]{1,3})?
"""
ISLAND = Grammar('root ::= "<do:" ("give" | "take") " " [0-9]{1,2} ">"', triggers=("<do:",))


def test_whatever_the_weights_say_a_finished_reply_is_a_member(models: Path, make_engine: Make) -> None:
    for model in ("tiny", "spm", "ends"):
        engine = make_engine(models / f"{model}.gguf", slots=4)
        streams = [
            engine.generate("lamp", grammar=JSON, temperature=1.5, top_k=0, top_p=1, min_p=0, seed=i, max_tokens=300)
            for i in range(40)
        ]
        finish_all(engine, streams)
        whole = Grammar(JSON)
        for stream in streams:
            assert stream.error is None
            if stream.finish == "stop":
                text = stream.text.removeprefix(" ")  # a sentencepiece vocabulary begins with one
                assert isinstance(json.loads(text), dict)
                assert whole.accepts(text)
        assert sum(s.finish == "stop" for s in streams) >= 10
        engine.close()


def test_a_choice_is_made_without_a_word_too_many(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    for seed in range(20):
        stream = engine.generate("who", grammar='root ::= "the lamp" | "the ship" | "oil"', seed=seed, temperature=2)
        assert stream.result(60) in ("the lamp", "the ship", "oil")
        assert stream.finish == "stop"


def test_a_grammar_names_tokens_by_number_and_by_text(models: Path, make_engine: Make) -> None:
    for model in ("tiny", "spm"):
        engine = make_engine(models / f"{model}.gguf")
        start = engine.generate("the lamp", max_tokens=1)
        start.result(60)
        (turn,) = engine.vocab.tokenise("<|im_start|>", special=True)
        lamp = engine.vocab.tokenise("lamp")[-1]
        gbnf = f"root ::= <|im_start|> !<[{lamp}]>{{3}} <[{lamp}]> \" \"{{2}}{{2}}"
        stream = engine.generate("the lamp", grammar=gbnf, temperature=1.5, seed=1)
        text = stream.result(60)
        assert (stream.finish, stream.error) == ("stop", None)
        assert stream.tokens[0] == turn and "im_start" not in text  # a control token, which has no text
        assert lamp not in stream.tokens[1:4] and stream.tokens[4] == lamp and text.endswith("    ")
        unknown = engine.generate("x", grammar="root ::= <nobody-knows-this>")
        finish_all(engine, [unknown])
        assert isinstance(unknown.error, GrammarError) and unknown.error.column == 10
        engine.close()


def test_speech_is_free_but_for_its_islands(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    free = engine.generate("the lamp", temperature=1, seed=4, max_tokens=60).result(60)
    assert engine.generate("the lamp", temperature=1, seed=4, max_tokens=60, grammar=ISLAND).result(60) == free


def test_hostile_grammars_end_their_stream_by_name_and_the_engine_lives(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    hostile = [
        "",
        "root",
        "root ::=",
        "root ::= root",
        "root ::= ::=",
        "root ::= x",
        'root ::= "a',
        "root ::= [",
        "root ::= []",
        "root ::= [z-a]",
        "root ::= (",
        "root ::= )",
        "root ::= *",
        'root ::= "a"{3,1}',
        'root ::= "a"{',
        'root ::= "a"{x}',
        'root ::= "a"{99999999999999999999}',
        r'root ::= "\uD800"',
        r'root ::= "\U00110000"',
        r'root ::= "\q"',
        "\0",
        'root ::= "\0"',
        "root = x",
        'root ::= "a"\nroot ::= "b"',
        "root ::= " + "(" * 5000,
        "root ::= " + '("a"' * 900,
        'root ::= (((("a"{999}){999}){999}){999})',
        'root ::= ((((""{999}){999}){999}){999})',
        "a" * 100_000,
        "root ::= " + " | ".join(f"r{i}" for i in range(5000)),
        'root ::= "a"| ',
        "root ::= a a a\na ::= b b b\nb ::= a a",
        "root ::= s\ns ::= s s",
        'root ::= s\ns ::= s s | ""',
        "root ::= <[3]>",
        "root ::= !<[3]>",
        "root ::= [\n]",
        'root ::= "\ud800"',
        "\ufeffroot ::= x",
        "#",
        "root ::= #",
        "root ::= ((()))",
        "root ::= ()*",
        "\U0010ffff" * 100,
    ]
    for gbnf in hostile:
        stream = engine.generate("the lamp", grammar=gbnf, max_tokens=4)
        finish_all(engine, [stream])
        assert stream.error is None or isinstance(stream.error, GrammarError), gbnf[:50]
    wrong = engine.generate("x", grammar='root ::= "a"\nother ::= [a')
    finish_all(engine, [wrong])
    assert isinstance(wrong.error, GrammarError)
    assert (wrong.error.line, wrong.error.rule) == (2, "other")
    assert engine.generate("the lamp", max_tokens=4, temperature=0).result(60)


@pytest.mark.parametrize("grammar", [5, object(), {"gbnf": 1}, b"root", ["root"], {"gbnf": "x", "triggers": [""]}])
def test_what_is_no_grammar_is_refused_at_once(tiny: Path, make_engine: Make, grammar: object) -> None:
    with pytest.raises(OptionError, match="grammar"):
        make_engine(tiny).generate("x", grammar=grammar)


def test_each_token_comes_with_its_probability(tiny: Path, make_engine: Make) -> None:
    engine = make_engine(tiny)
    stream = engine.generate("the lamp", max_tokens=12, temperature=0, logprobs=5)
    stream.result(60)
    assert len(stream.logprobs) == len(stream.tokens) == 12
    for token, told in zip(stream.tokens, stream.logprobs, strict=True):
        assert told.token == token == told.top[0].token
        assert told.logprob == told.top[0].logprob < 0
        assert len(told.top) == 5
        assert [t.logprob for t in told.top] == sorted((t.logprob for t in told.top), reverse=True)
        assert sum(math.exp(t.logprob) for t in told.top) <= 1
    assert not engine.generate("the lamp", max_tokens=3).logprobs
