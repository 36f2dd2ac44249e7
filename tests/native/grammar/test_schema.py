"""JSON Schema as a grammar, both ways: what it generates is valid, and what is not valid it refuses."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modkit.errors import GrammarError
from modkit.native.grammar import Grammar
from tests.native.grammar.support import damaged, spellings, times

SUITE = sorted((Path(__file__).parent / "schema_suite").glob("*.jsonl"))

# keyword: cases whose answer is the suite's, schemas that are refused by name
COUNTS = {
    "additionalProperties": (21, 0), "allOf": (30, 0), "anchor": (2, 3), "anyOf": (18, 0), "boolean_schema": (18, 0),
    "const": (50, 0), "contains": (21, 0), "default": (7, 0), "dependentRequired": (20, 0), "dependentSchemas": (16, 1),
    "enum": (45, 0), "exclusiveMaximum": (4, 0), "exclusiveMinimum": (4, 0), "if-then-else": (26, 0),
    "infinite-loop-detection": (2, 0), "items": (29, 0), "maxItems": (6, 0), "maxLength": (7, 0),
    "maxProperties": (10, 0), "maximum": (8, 0), "minContains": (17, 3), "minItems": (6, 0), "minLength": (7, 0),
    "minProperties": (8, 0), "minimum": (11, 0), "multipleOf": (8, 2), "not": (38, 1), "oneOf": (27, 0),
    "pattern": (9, 0), "patternProperties": (23, 0), "prefixItems": (11, 0), "properties": (28, 0),
    "propertyNames": (20, 0), "ref": (54, 11), "required": (16, 0), "type": (80, 0), "uniqueItems": (28, 3),
}  # fmt: skip

NODE = {"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 8},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3}},
        "required": ["name"], "additionalProperties": False}  # fmt: skip
SCHEMAS: dict[str, Any] = {
    "recursion": {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    "any": True,
    "any object": {"type": "object"},
    "numbers": {"type": "array", "items": {"type": "number", "minimum": -2.5, "exclusiveMaximum": 17}},
    "integers": {"type": "array", "items": {"type": "integer", "minimum": -105, "maximum": 1999}, "minItems": 2},
    "steps": {"type": "array", "items": {"type": "integer", "multipleOf": 7, "minimum": 3}, "maxItems": 5},
    "halves": {"type": "array", "items": {"type": "number", "multipleOf": 0.5}},
    "optional": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y", None, 1.5]},
                 "c": {"type": "boolean"}, "d": {"const": {"k": [1, "é"]}}}, "required": ["c"],
                 "additionalProperties": False},
    "open": {"type": "object", "properties": {"a": {"type": "integer"}, "é\"": {"type": "null"}}, "required": ["a"]},
    "counted": {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
                "additionalProperties": False, "minProperties": 1, "maxProperties": 2},
    "patterns": {"type": "object", "patternProperties": {"^x-[a-z]+$": {"type": "integer"}},
                 "additionalProperties": {"type": "boolean"}},
    "names": {"type": "object", "propertyNames": {"pattern": "^[a-c]{1,2}$"}, "additionalProperties": {"type": "null"}},
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": {"type": "integer"},
              "minItems": 1, "maxItems": 4},
    "text": {"type": "string", "pattern": "^[\\w\"\\\\/ é-ü]*$", "minLength": 2, "maxLength": 12},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "stamp": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "nullable": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    "one of": {"type": "object", "oneOf": [
        {"properties": {"kind": {"const": "give"}, "item": {"enum": ["lamp", "rope"]}}, "required": ["kind", "item"]},
        {"properties": {"kind": {"const": "wait"}, "turns": {"type": "integer", "minimum": 1, "maximum": 9}},
         "required": ["kind"]}], "unknown word": 1},
    "both": {"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]},
             {"properties": {"a": {"maximum": 8}, "b": {"type": "string", "maxLength": 2}}}],
             "propertyNames": {"enum": ["a", "b"]}},
    "not": {"type": "string", "not": {"enum": ["yes", "no"]}, "pattern": "^[eynos]{2,3}$"},
    "set": {"type": "array", "items": {"enum": ["a", "b", "c", 4]}, "uniqueItems": True, "minItems": 2},
    "holds": {"type": "array", "items": {"type": "integer"}, "contains": {"type": "integer", "minimum": 100}},
}  # fmt: skip
ALPHABET = '{}[],:"\\ 0159-.eE+abcxytrufalsn\u00e9\n\x01/'


FORMATS = jsonschema.FormatChecker(["date", "uuid", "ipv4"])


def moment(text: str, kind: Any) -> bool:
    plain = re.sub(r"\.(\d+)", lambda m: "." + m[1].ljust(6, "0")[:6], text.upper()).replace("Z", "+00:00")
    return kind.fromisoformat(plain).tzinfo is not None


FORMATS.checks("time", ValueError)(lambda value: moment(value, datetime.time))
FORMATS.checks("date-time", ValueError)(lambda value: moment(value, datetime.datetime))


@pytest.mark.parametrize("path", SUITE, ids=lambda p: p.stem)
def test_the_public_suite_agrees(path: Path) -> None:
    right = refused = 0
    for row in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(row)
        try:
            grammar = Grammar.from_schema(case["schema"])
        except GrammarError as error:
            if "no value can satisfy" not in str(error):
                refused += 1
                continue
            assert case["valid"] == []
            right += len(case["invalid"])
            continue
        for value in case["valid"]:
            assert any(map(grammar.accepts, spellings(value))), (case["of"], value)
        for value in case["invalid"]:
            assert not any(map(grammar.accepts, spellings(value))), (case["of"], value)
        right += len(case["valid"]) + len(case["invalid"])
    assert (right, refused) == COUNTS[path.stem]


def test_the_suites_keywords_are_all_here() -> None:
    assert {path.stem for path in SUITE} == COUNTS.keys()
    assert (sum(c[0] for c in COUNTS.values()), sum(c[1] for c in COUNTS.values())) == (735, 24)


def test_members_are_valid_and_damaged_ones_are_refused() -> None:
    rng = random.Random(20)
    seen: Counter[str] = Counter()
    each = times(30, 400)
    for name, schema in SCHEMAS.items():
        grammar = Grammar.from_schema(schema)
        valid = jsonschema.Draft202012Validator(schema, format_checker=FORMATS).is_valid
        for text in itertools.islice(grammar.members(each, 40), each):
            assert valid(json.loads(text)), (name, text)
            seen["members"] += 1
            for _ in range(3):
                other = damaged(text, rng, ALPHABET)
                try:
                    good = valid(json.loads(other)) and not duplicate_keys(other)
                except (ValueError, RecursionError):
                    good = False
                if not good:
                    if duplicate_keys(other):
                        continue
                    assert not grammar.accepts(other), (name, text, other)
                    seen["refused"] += 1
    assert seen["members"] == each * len(SCHEMAS)
    assert seen["refused"] > each * len(SCHEMAS) / 2


def duplicate_keys(text: str) -> bool:
    """JSON that names a key twice has no agreed value: Python takes the last, a grammar reads both."""
    found = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(items) != len({key for key, _ in items}))
        return dict(items)

    try:
        json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return False
    return any(found)


def test_the_checker_of_values_agrees_with_jsonschema() -> None:
    from modkit.native.grammar.shapes import Shapes

    checked = 0
    for path in SUITE:
        for row in path.read_text(encoding="utf-8").splitlines():
            case = json.loads(row)
            try:
                shapes = Shapes(case["schema"])
                answers = [shapes.allows(value) for value in case["valid"] + case["invalid"]]
            except GrammarError:
                continue
            assert answers == [True] * len(case["valid"]) + [False] * len(case["invalid"]), case
            checked += len(answers)
    assert checked > 700


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"type": "whatever"}, "'whatever'|\"whatever\""),
        ({"format": "iri"}, "iri"),
        ({"$ref": "other.json"}, "other.json"),
        ({"$ref": "#"}, "itself"),
        ({"$ref": "#/$defs/gone"}, "not there"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"pattern": "(?=x)"}, "look-around"),
        ({"pattern": "("}, "never closed"),
        ({"minimum": "3"}, "minimum"),
        ({"minLength": -1}, "minLength"),
        ({"required": "a"}, "required"),
        ({"enum": []}, "no value"),
        (False, "no value"),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "no value"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "no value"),
        ([], "a schema is an object"),
        ({"$schema": "http://json-schema.org/draft-03/schema#", "divisibleBy": 3}, "before draft 4"),
        ({"type": ["string", "integer"], "format": "int32"}, "int32"),
        ({"allOf": [{"anyOf": [{"minLength": n} for n in range(20)]} for _ in range(3)]}, "256 alternatives"),
    ],
    ids=str,
)
def test_what_cannot_be_expressed_is_named(schema: Any, why: str) -> None:
    with pytest.raises(GrammarError, match=why):
        Grammar.from_schema(schema)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("ipv6", "::|::1|1::|fe80::1:2|1:2:3:4:5:6:7:8|::ffff:10.0.0.255|1:2:3:4:5:6:1.2.3.4|1::3:4:5:6:7:8"
         "|1:2:3:4:5:6:7::",
         ":|1|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|1::2::3|12345::|::256.1.1.1|1:2:3:4:5:6:7:8::|fe80::1%eth0|1:2:3:4::5:6:7:8"),
        ("uri", "http://a|https://u:p@example.org:8080/a/b?x=1&y=%C3%A9#top|mailto:a@b.c|urn:isbn:1|file:///a|x:"
         "|http://[::1]:80/",
         "|a|//a/b|/a|http://a b|http://[::1|1x:a|http://a/%4|x:#a#b|http://é.org|http://a:b:c/"),
        ("uri-reference", "|a|//a/b|/a|?x|#y|../b;c|http://a|./a:b", "a b|a:é|%|\\|#a#b|:a"),
        ("duration", "P1Y2M3D|P4W|PT36H|P1DT12H|PT1M|P3DT1H2M3S", "|P|PT|P1|1D|P1D2M|P1YT|P1W2D|PT1.5S|p1d|P1Y3D"),
        ("json-pointer", "|/|/a~1b/~0/0/é", "a|/~|/~2|#/a"),
        ("byte", "|bGFtcA==|bGFtcHM=|bGFt", "b|bG|bGF|bGFt=|bGFtcB==|bGFtcHN=|b-_t"),
        ("password", "|any thing\n", None),
    ],
    ids=lambda v: v if v in ("ipv6", "uri") else None,
)  # fmt: skip
def test_formats_are_what_their_standards_say(name: str, right: str, wrong: str | None) -> None:
    grammar = Grammar.from_schema({"type": "string", "format": name})
    for text in right.split("|"):
        assert grammar.accepts(json.dumps(text, ensure_ascii=False)), text
    for text in wrong.split("|") if wrong is not None else ():
        assert not grammar.accepts(json.dumps(text, ensure_ascii=False)), text


def test_a_format_is_written_once_however_many_fields_have_it() -> None:
    fields = {f"f{n}": {"type": "string", "format": "uri"} for n in range(100)}
    grammar = Grammar.from_schema({"type": "object", "properties": fields}, closed=True)
    assert grammar.accepts('{"f0":"http://a/","f99":"urn:x"}') and not grammar.accepts('{"f0":"http://a/","f99":"x"}')
    one = Grammar.from_schema({"type": "object", "properties": {"f": fields["f0"]}}, closed=True)
    assert len(grammar.gbnf) < 2 * len(one.gbnf)


def test_addresses_are_those_that_python_reads() -> None:
    grammar, rng = Grammar.from_schema({"type": "string", "format": "ipv6"}), random.Random(4)
    refused = 0
    for text in itertools.islice(grammar.members(2, 40), times(200, 3000)):
        assert ipaddress.IPv6Address(json.loads(text))
        other = '"' + damaged(text[1:-1], rng, ":::.0fg1") + '"'
        try:
            ipaddress.IPv6Address(other[1:-1])
        except ValueError:
            assert not grammar.accepts(other), other
            refused += 1
        else:
            assert grammar.accepts(other), other
    assert refused > 40


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "integer", "format": "int32"}, [2**31 - 1, -(2**31)], [2**31, -(2**31) - 1, 1.5, "1"]),
        ({"type": "number", "format": "uint8", "maximum": 200}, [0, 200], [-1, 201, 0.5]),
        ({"type": ["integer", "null"], "format": "uint64"}, [2**64 - 1, None], [2**64, -1]),
        ({"type": "number", "format": "double"}, [0.5, 3], ["x"]),
        ({"type": "boolean", "format": "whatever"}, [True], [1]),
    ],
    ids=str,
)  # fmt: skip
def test_formats_of_numbers_bound_them(schema: Any, right: list[Any], wrong: list[Any]) -> None:
    grammar = Grammar.from_schema(schema)
    assert all(grammar.accepts(json.dumps(value)) for value in right)
    assert not any(grammar.accepts(json.dumps(value)) for value in wrong)


@pytest.mark.parametrize("word", ["anyOf", "oneOf"])
def test_values_with_titles_are_one_enum(word: str) -> None:
    parts: list[Any] = [{"const": f"v{n}", "title": f"V {n}"} for n in range(400)]
    parts += [{"enum": [1, 2]}, {"type": "null"}]
    grammar = Grammar.from_schema({word: parts})
    assert all(grammar.accepts(text) for text in ('"v0"', '"v399"', "2", "null"))
    assert not any(grammar.accepts(text) for text in ('"v400"', "3", "true"))
    twice = Grammar.from_schema({word: [{"const": 1}, {"enum": [1, 2]}, {"type": "string"}]})
    assert twice.accepts("2") and twice.accepts('""') and twice.accepts("1") is (word == "anyOf")


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: Any = {"type": "string"}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(GrammarError, match="nested"):
        Grammar.from_schema(schema)


def test_properties_come_in_the_schemas_order_without_stray_commas() -> None:
    grammar = Grammar.from_schema(
        {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}}, closed=True
    )
    for text in ("{}", '{"a":null}', '{"b":null}', '{"a":null, "b": null}'):
        assert grammar.accepts(text)
    for text in ('{,"b":null}', '{"a":null,}', '{"b":null,"a":null}', '{"c":1}', '{ "a":null}'):
        assert not grammar.accepts(text)


def test_a_long_string_is_counted_exactly_within_llama_cpps_bounds() -> None:
    grammar = Grammar.from_schema({"type": "string", "minLength": 2500, "maxLength": 5201}, spaces=False)
    again = Grammar(grammar.gbnf)  # as llama.cpp will read it: no repeat above its bound
    for length, good in ((2499, False), (2500, True), (4000, True), (5201, True), (5202, False)):
        assert grammar.accepts(f'"{"x" * length}"') is again.accepts(f'"{"x" * length}"') is good


def test_a_schema_of_300_rules_is_made_in_one_piece() -> None:
    properties = {
        f"field-{n}": {"type": "object", "properties": {"n": {"type": "integer", "maximum": n}}} for n in range(300)
    }
    grammar = Grammar.from_schema({"type": "object", "properties": properties}, closed=True)
    assert Grammar(grammar.gbnf).accepts('{"field-3":{"n":3},"field-299":{}}')


@pytest.mark.parametrize("required", [True, False])
def test_an_object_may_have_many_properties(required: bool) -> None:
    names = [f"p{n}" for n in range(600)]
    schema: dict[str, Any] = {"type": "object", "properties": {key: {"type": "integer"} for key in names}}
    schema["required"] = names if required else names[:1] + names[-1:]
    grammar = Grammar.from_schema(schema, closed=True)
    assert grammar.accepts(json.dumps(dict.fromkeys(names, 1)))
    assert grammar.accepts('{"p0":1,"p599":2}') is not required
    assert not grammar.accepts('{"p0":1,"p3":2}')
