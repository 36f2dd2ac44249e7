"""GBNF is read as llama.cpp reads it, and what is wrong is said with its place."""

from __future__ import annotations

import re

import pytest

from modkit.errors import GrammarError, ModkitError
from modkit.native.grammar import Grammar

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""

WRONG = [
    ("root ::= x", 1, 10, "not defined"),
    ('root ::= "a"\nb ::= c d', 2, 7, "'c' is not defined"),
    ('root ::= root "a" | "b"', 1, 1, "calls itself"),
    ('root ::= a\na ::= b "x"\nb ::= c a | "q"\nc ::= d\nd ::= "y"?', 2, 1, "a → b → a"),
    ('root ::= ("a"', 1, 10, "never closed"),
    ('root ::= "a" )', 1, 14, "closes nothing"),
    ('root ::= "a', 1, 10, "never closed"),
    ("root ::= [a", 1, 10, "never closed"),
    ('root ::= "\\q"', 1, 11, "unknown"),
    ('root ::= "\\x4"', 1, 11, "2 hexadecimal"),
    ('root ::= "\\uD800"', 1, 11, "no character"),
    ('root ::= "\\x00"', 1, 11, "ends a text in C"),
    ('root ::= "a"{3000}', 1, 13, "at most 2000"),
    ('root ::= ("a" | "b"){3}{1000}', 1, 24, "above 2000"),
    ('root ::= "a"{3,2}', 1, 13, "at least more"),
    ('root ::= "a"{x}', 1, 14, "number is missing"),
    ('root ::= *"a"', 1, 10, "nothing before"),
    ('root ::= ("a"?)*', 1, 1, "may be empty"),
    ('root ::= "a" root', 1, 1, "ever complete"),
    ('root ::= "a"\n| "b"', 2, 1, "a rule ends with its line"),
    ("root ::= [z-a]", 1, 11, "backwards"),
    ("root ::= []", 1, 10, "empty"),
    ('root ::= "a"\nroot ::= "b"', 2, 1, "twice"),
    ('root = "a"', 1, 6, "'::='"),
    ("root ::= a_b\na ::= [x]", 1, 11, "no '_'"),
    ('start ::= "a"', 1, 1, "no rule 'root'"),
    ("", 1, 1, "no rule"),
    ("root ::= " + "(" * 200 + '"a"' + ")" * 200, 1, 110, "nested"),
    ("root ::= <[x]>", 1, 10, "token"),
]


@pytest.mark.parametrize(("text", "line", "column", "why"), WRONG, ids=[w[3] + w[0][-8:] for w in WRONG])
def test_a_wrong_grammar_is_refused_with_its_place(text: str, line: int, column: int, why: str) -> None:
    with pytest.raises(GrammarError, match=re.escape(why)) as caught:
        Grammar(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert isinstance(caught.value, ModkitError) and isinstance(caught.value, ValueError)


def test_the_rule_is_named() -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar('root ::= inner\ninner ::= "a" missing')
    assert caught.value.rule == "inner"
    assert "in rule 'inner'" in str(caught.value)


def test_llama_cpps_own_json_grammar_is_read() -> None:
    grammar = Grammar(JSON)
    assert (grammar.root, grammar.triggers) == ("root", ())
    assert grammar.gbnf == JSON


def test_a_grammar_that_is_too_big_is_refused() -> None:
    with pytest.raises(GrammarError, match="bytes"):
        Grammar('root ::= "' + "a" * (1 << 20) + '"')
    with pytest.raises(GrammarError, match="rules"):
        Grammar("".join(f'r{n} ::= "a"\n' for n in range(20_001)), "r0")
    with pytest.raises(GrammarError, match="elements"):
        Grammar('root ::= "a"' + "".join(f"\nx{n} ::= [a-c]{{1900}}" for n in range(600)))


def test_a_chain_of_thousands_of_rules_is_read_in_either_direction() -> None:
    links = [f'r{n} ::= r{n + 1} | "a" r{n + 1}\n' for n in range(9_000)] + ['r9000 ::= "b"\n']
    for order in (links, links[::-1]):
        assert Grammar("".join(order), "r8990").accepts("aaab")


def test_triggers_make_it_lazy() -> None:
    grammar = Grammar('root ::= "<do:" [a-z]+ ">"', triggers=("<do:",))
    assert grammar.triggers == ("<do:",)
    assert "<do:" in repr(grammar)
    with pytest.raises(GrammarError, match="triggers"):
        Grammar('root ::= "a"', triggers=("",))


def test_equal_grammars_are_equal() -> None:
    assert Grammar('root ::= "a"') == Grammar('root ::= "a"')
    assert Grammar('root ::= "a"') != Grammar('root ::= "b"')
    assert len({Grammar('root ::= "a"'), Grammar('root ::= "a"')}) == 1
