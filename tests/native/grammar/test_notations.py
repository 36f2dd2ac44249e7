"""ABNF, EBNF and SQL: what they generate, somebody else's parser reads; what that parser refuses, they refuse."""

from __future__ import annotations

import datetime
import itertools
import random
import re
import sqlite3

import pytest

from modkit.errors import GrammarError
from modkit.native.grammar import Grammar
from tests.native.grammar.support import damaged, times

POSTAL = """
; RFC 5234, appendix
   postal-address   = name-part street zip-part

   name-part        = *(personal-part SP) last-name [SP suffix] CRLF
   name-part        =/ personal-part CRLF

   personal-part    = first-name / (initial ".")
   first-name       = *ALPHA
   initial          = ALPHA
   last-name        = *ALPHA
   suffix           = ("Jr." / "Sr." / 1*("I" / "V" / "X"))   ; and so on

   street           = [apt SP] house-num SP street-name CRLF
   apt              = 1*4DIGIT
   house-num        = 1*8(DIGIT / ALPHA)
   street-name      = 1*VCHAR

   zip-part         = town-name "," SP state
                      1*2SP zip-code CRLF
   town-name        = 1*(ALPHA / SP)
   state            = 2ALPHA
   zip-code         = 5DIGIT ["-" 4DIGIT]
"""
TIMESTAMP = """
date-fullyear   = 4DIGIT
date-month      = 2DIGIT  ; 01-12
date-mday       = 2DIGIT
time-hour       = 2DIGIT
time-minute     = 2DIGIT
time-second     = 2DIGIT
time-secfrac    = "." 1*DIGIT
time-numoffset  = ("+" / "-") time-hour ":" time-minute
time-offset     = "Z" / time-numoffset
partial-time    = time-hour ":" time-minute ":" time-second [time-secfrac]
full-date       = date-fullyear "-" date-month "-" date-mday
full-time       = partial-time time-offset
date-time       = full-date "T" full-time
"""
# RFC 5234, section 4: ABNF in ABNF (lines end with CRLF, as there)
ITSELF = r"""
rulelist       =  1*( rule / (*c-wsp c-nl) )
rule           =  rulename defined-as elements c-nl
rulename       =  ALPHA *(ALPHA / DIGIT / "-")
defined-as     =  *c-wsp ("=" / "=/") *c-wsp
elements       =  alternation *c-wsp
c-wsp          =  WSP / (c-nl WSP)
c-nl           =  comment / CRLF
comment        =  ";" *(WSP / VCHAR) CRLF
alternation    =  concatenation *(*c-wsp "/" *c-wsp concatenation)
concatenation  =  repetition *(1*c-wsp repetition)
repetition     =  [repeat] element
repeat         =  1*DIGIT / (*DIGIT "*" *DIGIT)
element        =  rulename / group / option / char-val / num-val / prose-val
group          =  "(" *c-wsp alternation *c-wsp ")"
option         =  "[" *c-wsp alternation *c-wsp "]"
char-val       =  DQUOTE *(%x20-21 / %x23-7E) DQUOTE
num-val        =  "%" (bin-val / dec-val / hex-val)
bin-val        =  "b" 1*BIT [ 1*("." 1*BIT) / ("-" 1*BIT) ]
dec-val        =  "d" 1*DIGIT [ 1*("." 1*DIGIT) / ("-" 1*DIGIT) ]
hex-val        =  "x" 1*HEXDIG [ 1*("." 1*HEXDIG) / ("-" 1*HEXDIG) ]
prose-val      =  "<" *(%x20-3D / %x3F-7E) ">"
"""
SUMS = """
[1] Sum    ::= Part (("+" | "-") Part)*
/* what a sum is made of */
[2] Part   ::= Factor (("*" | "/") Factor)*
[3] Factor ::= Number | '(' Sum ')'
[4] Number ::= [1-9] [0-9]* ("." [0-9]+)? | #x30
"""
ISO_SUMS = """
(* the same, as ISO 14977 writes it *)
sum = part, { ("+" | "-"), part } ;
part = factor, { ("*" | "/"), factor } ;
factor = whole number, [ ".", digit, { digit } ] | "0" | "(", sum, ")" ;
whole number = first digit, { digit } ;
first digit = "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" ;
digit = "0" | first digit ;
"""
TABLES = {"npcs": ["id", "name", "age"], "items": ["id", "owner", "weight"], "places": ["name", "x", "y"]}


def test_rfc_5234s_postal_address() -> None:
    grammar = Grammar.from_abnf(POSTAL)
    assert grammar.accepts("J. Smith JR.\r\n4 12a Main\r\nNew York, NY  10001-1234\r\n")
    assert not grammar.accepts("J. Smith\r\n12a Main\r\nNew York, NYC 10001\r\n")
    suffix = r"(?: (?:[jJ][rR]\.|[sS][rR]\.|[iIvVxX]+))?"
    line = rf"(?:(?:[A-Za-z]*|[A-Za-z]\.) )*[A-Za-z]*{suffix}\r\n|(?:[A-Za-z]*|[A-Za-z]\.)\r\n"
    pattern = re.compile(
        rf"(?:{line})(?:\d{{1,4}} )?[0-9A-Za-z]{{1,8}} [!-~]+\r\n"
        rf"[A-Za-z ]+, [A-Za-z]{{2}} {{1,2}}\d{{5}}(?:-\d{{4}})?\r\n",
        re.A,
    )
    rng = random.Random(1)
    for text in itertools.islice(grammar.members(1), times(150, 2000)):
        assert pattern.fullmatch(text), text
        other = damaged(text, rng, "aA1. ,-\r\nJr")
        assert grammar.accepts(other) is bool(pattern.fullmatch(other)), other


def test_rfc_3339s_timestamp() -> None:
    grammar = Grammar.from_abnf(TIMESTAMP, "date-time")
    assert grammar.accepts("1985-04-12T23:20:50.52Z") and grammar.accepts("1996-12-19t16:39:57-08:00")
    assert not grammar.accepts("1985-4-12T23:20:50Z") and not grammar.accepts("1985-04-12 23:20:50Z")
    when = datetime.datetime(2026, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc).isoformat()
    assert grammar.accepts(when)


def test_abnf_describes_itself() -> None:
    itself = Grammar.from_abnf(ITSELF)
    assert itself.accepts(ITSELF.lstrip().replace("\n", "\r\n"))
    read = refused = 0
    for text in itertools.islice(itself.members(3, size=120), times(150, 2000)):
        try:  # each member is ABNF, so what is wrong with it can only be what it says
            Grammar.from_abnf(text)
            read += 1
        except GrammarError as error:
            told = "not defined|twice|no rule|prose|wards|base|no character|itself|complete|empty|bytes|elements"
            assert re.search(told, str(error)), (text, error)
            refused += 1
    assert read + refused == times(150, 2000)


@pytest.mark.parametrize("text", [SUMS, ISO_SUMS], ids=["w3c", "iso"])
def test_ebnf_sums_are_those_that_python_reads(text: str) -> None:
    grammar = Grammar.from_ebnf(text)
    rng, tried = random.Random(2), 0
    for member in itertools.islice(grammar.members(2, size=30), times(150, 2000)):
        compile(member, "sum", "eval")
        other = damaged(member, rng, "0123456789.+-*/()x ")
        if grammar.accepts(other):
            compile(other, "sum", "eval")
        tried += 1
    assert grammar.accepts("1+(2*3.5)-0") and not grammar.accepts("1+") and not grammar.accepts("(1") and tried


def test_a_query_is_one_that_sqlite_prepares() -> None:
    grammar = Grammar.from_tables(TABLES)
    database = sqlite3.connect(":memory:")
    for table, columns in TABLES.items():
        database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")

    def prepares(query: str) -> bool:
        try:
            database.execute(f"EXPLAIN {query}")
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return False
        return True

    rng, refused = random.Random(3), 0
    for query in itertools.islice(grammar.members(3), times(300, 10_000)):
        assert prepares(query), query
        other = damaged(query, rng, " ,.*()='<>abcdenmSELT01%;-")
        if not prepares(other):
            assert not grammar.accepts(other), other
            refused += 1
    assert refused > times(150, 5000)
    assert grammar.accepts("SELECT name, age FROM npcs WHERE age >= 30 AND name LIKE 'B%' ORDER BY age DESC LIMIT 5")
    assert grammar.accepts("SELECT COUNT(*) FROM npcs JOIN items ON npcs.id = items.owner WHERE items.weight > 2.5")
    for wrong in (
        "DROP TABLE npcs", "SELECT password FROM npcs", "SELECT weight FROM npcs",
        "SELECT name FROM npcs; DROP TABLE npcs",
        "SELECT name FROM sqlite_master", "SELECT name FROM npcs WHERE name = 'a' OR 1=1",
    ):  # fmt: skip
        assert not grammar.accepts(wrong)
    database.close()


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a = b", 1, "not defined"), ('a = "x" /\nb = "y"', 1, "element is expected"), ("a = <prose>", 1, "prose"),
        ('a = "x\nb = "y"', 1, "never closed"), ("x", 1, "'=' is missing"), ("a = %x110000", 1, "no character"),
        ('a = ("b"', 1, "never closed"), ('a = "b"\na = "c"', 2, "twice"), ("a = 3*2%x41", 1, "downwards"),
        ("a = %x42-41", 1, "backwards"), ("a = %b12", 1, "base 2"), ("= x", 1, "name is expected"), ("", 1, "no rule"),
        ("a = " + "(" * 200, 1, "nested"),
    ],
)  # fmt: skip
def test_wrong_abnf_is_refused_with_its_place(text: str, line: int, why: str) -> None:
    with pytest.raises(GrammarError, match=why) as caught:
        Grammar.from_abnf(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A ::= B", "not defined"), ('A ::= "x', "never closed"), ("A ::= [a", "never closed"),
        ("A ::= (B", "never closed"),
        ('A ::= "ab" - "c"', "single characters"), ('A ::= "x" )', "nothing here"), ('a = "x"', "ends with ';'"),
        ("a = ? special ? ;", "special"), ("a = 'x' - 'y' ;", "exceptions"), ('A ::= "a"\nA ::= "b"', "twice"),
        ('A ::= A "x" | "y"', "calls itself"), ("A ::= #x110000", "no character"),
    ],
)  # fmt: skip
def test_wrong_ebnf_is_refused(text: str, why: str) -> None:
    with pytest.raises(GrammarError, match=why):
        Grammar.from_ebnf(text)


def test_ebnf_excludes_single_characters() -> None:
    grammar = Grammar.from_ebnf("Name ::= ([a-z] - [aeiou])+ | [^a-z#x0-#x1F] - 'B'")
    assert grammar.accepts("bcd") and not grammar.accepts("bad") and grammar.accepts("A") and not grammar.accepts("B")


@pytest.mark.parametrize("tables", [{}, {"a": []}, {"a b": ["c"]}, {"a": ["select"]}, {"a": ["x'y"]}, {"a": [1]}])
def test_names_that_would_need_quotes_are_refused(tables: dict[str, list[str]]) -> None:
    with pytest.raises(GrammarError):
        Grammar.from_tables(tables)
