"""Regular expressions as grammars, held against `re`, both ways; and the exact "and", "or", "and not" of them."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from modkit.errors import GrammarError
from modkit.native.grammar import Grammar
from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.nodes import Text
from modkit.native.grammar.regex import regex
from modkit.native.grammar.write import Builder, write
from tests.native.grammar.support import damaged, times

PATTERNS = [
    "a*b+c?", "(a?)*b", "(a|b|)+c", "[^a-c]{2,4}", r"\d{3}-\d{4}", "(?:x|yz){2,}", r"\w+@\w+\.(com|org)", "^ab$|^c$",
    "(^a|b$)", "é[à-ü]*ß", r"[\d\-x]+", "[]a]+", "\u4e00[一-龥]{1,3}", "(a{2}){3}", "((a|b)*c?)*d", r"\x41\\\.", "a.c",
    r"\s\S[\s\w]\W", "(?P<name>ab|cd){0,3}", "a{2}{3}"[:4], "x{,3}y", "[^\\n]*;", "\U0001f600?x", "a{,}b", "a{b",
    "(ab|a)(bc|c)", "a+?b*?", "\\Aab\\Z", "[a\\]b]{2}", "(|a)(|b)(|c)",
]  # fmt: skip
ALPHABET = "abcdxyz019@.-_\\é \n]ß一\U0001f600{},;A"


def test_members_match_and_what_does_not_match_is_refused() -> None:
    rng, tried = random.Random(3), 0
    for pattern in PATTERNS:
        grammar = Grammar.from_regex(pattern)
        again = Grammar(grammar.gbnf)
        for text in itertools.islice(grammar.members(7), times(40, 400)):
            assert re.fullmatch(pattern, text, re.ASCII), (pattern, text)
            assert grammar.accepts(text) and again.accepts(text)
            other = damaged(text, rng, ALPHABET)
            assert grammar.accepts(other) is bool(re.fullmatch(pattern, other, re.ASCII)), (pattern, other)
            tried += 1
    assert tried == times(40, 400) * len(PATTERNS)


def test_a_deterministic_automaton_says_the_same() -> None:
    rng = random.Random(4)
    for pattern in PATTERNS:
        node = regex(pattern)
        dfa = DFA.of(node)
        builder = Builder({"root": Text("")})
        builder.rules["root"] = dfa.node(builder, "state")
        spelled = Grammar(write(builder.rules))
        for text in itertools.islice(Grammar.from_regex(pattern).members(8), 20):
            for one in (text, damaged(text, rng, ALPHABET)):
                matches = bool(re.fullmatch(pattern, one, re.ASCII))
                assert dfa.accepts_text(one) is spelled.accepts(one) is matches, (pattern, one)


def test_and_or_and_not_are_exact() -> None:
    rng = random.Random(5)
    pairs = [("[a-c]*b[a-c]*", "[ab]{1,3}"), ("a*|b*", "(ab)*|a"), ("[^a]*", "[a-z]+"), (r"\w+", "if|else|é")]
    for one, two in pairs:
        left, right = DFA.of(regex(one)), DFA.of(regex(two))
        both, either, less = left & right, left | right, left - right
        for _ in range(300):
            text = "".join(rng.choice("abcifelsé") for _ in range(rng.randint(0, 5)))
            a, b = bool(re.fullmatch(one, text, re.ASCII)), bool(re.fullmatch(two, text, re.ASCII))
            assert both.accepts_text(text) is (a and b)
            assert either.accepts_text(text) is (a or b)
            assert less.accepts_text(text) is (a and not b)
    assert (DFA.of(regex("a+")) - DFA.of(regex("a*"))).nothing


def test_a_pattern_in_a_schema_searches_as_javascript_does() -> None:
    grammar = Grammar.from_schema({"type": "string", "pattern": "a.$"})
    assert grammar.accepts('"xxab"') and grammar.accepts('"a\\""')
    assert not grammar.accepts('"ab "') and not grammar.accepts('"a\\n"')


def test_unicode_categories() -> None:
    grammar = Grammar.from_regex(r"\p{Lu}\p{L}*\P{L}")
    assert grammar.accepts("Ünïcode!") and grammar.accepts("Ω1")
    assert not grammar.accepts("ünï!") and not grammar.accepts("Ab")


@pytest.mark.parametrize(
    ("pattern", "column", "why"),
    [
        ("a(b", 2, "never closed"), ("ab)", 3, "closes nothing"), ("[a", 1, "never closed"),
        ("*a", 1, "nothing before"),
        ("a**", 3, "cannot be repeated"), ("(?=a)", 1, "look-around"), ("(?<!a)b", 1, "look-around"),
        (r"(a)\1", 4, "back"),
        (r"a\b", 2, "boundary"), ("[z-a]", 2, "later"), (r"\q", 1, "unknown"), ("a^b", 1, "only at the ends"),
        ("(^)*", 4, "anchor"), ("a{3,2}", 2, "upwards"), ("a\\", 2, "ends with"), (r"\p{Klingon}", 2, "unknown"),
        ("(" * 60 + ")" * 60, 52, "nested"), (r"\x4", 1, "hexadecimal"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_column(pattern: str, column: int, why: str) -> None:
    with pytest.raises(GrammarError, match=why) as caught:
        Grammar.from_regex(pattern)
    assert caught.value.column == column


def test_combinations_that_explode_are_refused() -> None:
    with pytest.raises(GrammarError, match="states"):
        DFA.of(regex("(a|b)*a(a|b){18}"))
