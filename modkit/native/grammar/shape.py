"""A JSON Schema as a list of `Shape`s: alternatives without combinators, each a plain set of limits.

allOf is the meeting of shapes, anyOf a longer list; oneOf is a longer list whose parts are shown to exclude each
other. What is left over in each shape is what the grammar is written from, and what a value is checked against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeAlias

from modkit.errors import GrammarError
from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.formats import FORMATS
from modkit.native.grammar.numbers import Bounds
from modkit.native.grammar.regex import regex

__all__ = ["Schema", "Shape", "Shapes", "kind_of", "same"]

Schema: TypeAlias = "Mapping[str, Any] | bool"
KINDS = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
_TYPES = {
    "null": {"null"},
    "boolean": {"boolean"},
    "integer": {"integer"},
    "number": {"integer", "fraction"},
    "string": {"string"},
    "array": {"array"},
    "object": {"object"},
}
_REFUSED = ("unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef", "maxContains")
MAX_ALTERNATIVES = 256
MAX_DEPTH = 60
_NO_BOUNDS = Bounds()
_DEEP = 6  # how deep two alternatives are compared


@dataclass(frozen=True)
class Extra:
    """One schema's additionalProperties: it speaks of the keys that this same schema does not name."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    schema: Schema


@dataclass(frozen=True)
class Shape:
    """One alternative. Schemas inside it are those of the document, and all of a tuple apply together."""

    kinds: frozenset[str] = KINDS
    values: tuple[Any, ...] | None = None
    excluded: tuple[Any, ...] = ()
    bounds: Bounds = _NO_BOUNDS
    min_length: int = 0
    max_length: int | None = None
    patterns: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    not_patterns: tuple[str, ...] = ()
    min_items: int = 0
    max_items: int | None = None
    arrays: tuple[tuple[tuple[Schema, ...], Schema], ...] = ()  # prefixItems and items, of each schema
    contains: tuple[tuple[int, Schema], ...] = ()
    unique: bool = False
    properties: Mapping[str, tuple[Schema, ...]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    by_pattern: tuple[tuple[str, Schema], ...] = ()
    extras: tuple[Extra, ...] = ()
    names: tuple[Schema, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None

    def meet(self, other: Shape) -> Shape:
        """What both allow."""
        values = self.values
        if other.values is not None:
            values = (
                other.values if values is None else tuple(v for v in values if any(same(v, w) for w in other.values))
            )
        properties = dict(self.properties)
        for name, schemas in other.properties.items():
            properties[name] = (*properties.get(name, ()), *schemas)
        return Shape(
            self.kinds & other.kinds,
            values,
            self.excluded + other.excluded,
            self.bounds.meet(other.bounds),
            max(self.min_length, other.min_length),
            _least(self.max_length, other.max_length),
            tuple(dict.fromkeys(self.patterns + other.patterns)),
            tuple(dict.fromkeys(self.formats + other.formats)),
            self.not_patterns + other.not_patterns,
            max(self.min_items, other.min_items),
            _least(self.max_items, other.max_items),
            self.arrays + other.arrays,
            self.contains + other.contains,
            self.unique or other.unique,
            properties,
            self.required | other.required,
            self.by_pattern + other.by_pattern,
            self.extras + other.extras,
            self.names + other.names,
            max(self.min_properties, other.min_properties),
            _least(self.max_properties, other.max_properties),
        )

    def of_key(self, key: str) -> tuple[Schema, ...]:
        """All schemas that speak of this key's value."""
        found = list(self.properties.get(key, ()))
        found += [schema for pattern, schema in self.by_pattern if _matches(pattern, key)]
        for extra in self.extras:
            if key not in extra.names and not any(_matches(p, key) for p in extra.patterns):
                found.append(extra.schema)
        return tuple(found)

    def of_item(self, index: int) -> tuple[Schema, ...]:
        """All schemas that speak of the item at this place."""
        return tuple(prefix[index] if index < len(prefix) else rest for prefix, rest in self.arrays)


class Shapes:
    """One schema document: resolves its references, expands it, and checks values against it."""

    def __init__(self, document: Schema) -> None:
        self.document = document
        self._named: dict[str, Schema] = {}
        self._known: dict[int, list[Shape]] = {}
        self._made: list[Schema] = []
        self._moved = False  # an inner $id changes what relative references mean
        self._find_names(document, "#", 0)

    def expand(self, schema: Schema, resolving: tuple[str, ...] = ()) -> list[Shape]:
        """The alternatives of one schema."""
        if schema is True:
            return [Shape()]
        if schema is False:
            return []
        if not isinstance(schema, Mapping):
            raise GrammarError(f"a schema is an object, true or false, not {_short(schema)}")
        if len(resolving) > MAX_DEPTH:
            raise GrammarError(f"the schema is nested more than {MAX_DEPTH} deep")
        if id(schema) not in self._known:
            self._known[id(schema)] = self._expand(schema, resolving)
        return self._known[id(schema)]

    def expand_all(self, schemas: tuple[Schema, ...]) -> list[Shape]:
        """The alternatives of several schemas that apply together."""
        found = [Shape()]
        for schema in schemas:
            found = _product(found, self.expand(schema))
        return found

    def target(self, schema: Schema) -> Schema:
        """What a schema that is only a reference refers to, else the schema itself."""
        seen = 0
        while isinstance(schema, Mapping) and "$ref" in schema and not _KEYWORDS & schema.keys():
            schema = self.resolve(schema["$ref"])
            seen += 1
            if seen > MAX_DEPTH:
                raise GrammarError(f"$ref {_short(schema)} refers to itself")
        return schema

    def resolve(self, ref: Any) -> Schema:
        """The schema that a $ref names, in this document."""
        if not isinstance(ref, str):
            raise GrammarError(f"$ref {_short(ref)} is not a text")
        if self._moved and "://" not in ref:
            raise GrammarError(f"$ref {ref!r} beside an inner $id: write the reference with its whole address")
        if ref in self._named:
            return self._named[ref]
        base, mark, pointer = ref.partition("#")
        here: Any = self._named.get(base) if base else self.document
        if here is None or (pointer and not pointer.startswith("/")):
            raise GrammarError(f"$ref {ref!r} leads out of the schema; only what is inside it can be used")
        from urllib.parse import unquote

        for part in unquote(pointer).split("/")[1:] if mark else ():
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
                here = here[int(part)]
            else:
                raise GrammarError(f"$ref {ref!r} names something that is not there")
        self._named[ref] = here
        return here  # type: ignore[no-any-return]

    # ---- checking values ----

    def allows(self, value: Any, schema: Schema | None = None) -> bool:
        """Whether a value is valid against a schema of the document (None: the document itself)."""
        chosen = self.document if schema is None else schema
        return any(self.fits(value, shape) for shape in self.expand(chosen))

    def fits(self, value: Any, shape: Shape) -> bool:
        """Whether a value is valid against one shape."""
        kind = kind_of(value)
        if kind not in shape.kinds or any(same(value, other) for other in shape.excluded):
            return False
        if shape.values is not None and not any(same(value, other) for other in shape.values):
            return False
        if kind in ("integer", "fraction"):
            return shape.bounds.holds(value)
        if kind == "string":
            return _fits_text(value, shape)
        if kind == "array":
            return self._fits_array(value, shape)
        return kind != "object" or self._fits_object(value, shape)

    def _fits_array(self, value: list[Any], shape: Shape) -> bool:
        if not _within(len(value), shape.min_items, shape.max_items):
            return False
        if shape.unique and any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
            return False
        if any(sum(self.allows(item, schema) for item in value) < least for least, schema in shape.contains):
            return False
        return all(self.allows(item, schema) for index, item in enumerate(value) for schema in shape.of_item(index))

    def _fits_object(self, value: Mapping[str, Any], shape: Shape) -> bool:
        if not _within(len(value), shape.min_properties, shape.max_properties) or shape.required - value.keys():
            return False
        if any(not self.allows(key, schema) for key in value for schema in shape.names):
            return False
        return all(self.allows(item, schema) for key, item in value.items() for schema in shape.of_key(key))

    # ---- whether alternatives exclude each other ----

    def nothing(self, shape: Shape, depth: int = 0) -> bool:
        """Whether it is certain that no value fits."""
        kinds = set(shape.kinds)
        if shape.values is not None:
            return not any(self.fits(value, shape) for value in shape.values)
        if shape.bounds.nothing:
            kinds -= {"integer", "fraction"}
        if not _within(shape.min_length, 0, shape.max_length) or self._no_text(shape):
            kinds.discard("string")
        if not _within(shape.min_items, 0, shape.max_items):
            kinds.discard("array")
        if depth < _DEEP and "object" in kinds:
            for key in shape.required:
                inner = self.expand_all(shape.of_key(key))
                if all(self.nothing(one, depth + 1) for one in inner):
                    kinds.discard("object")
                    break
        if depth < _DEEP and "array" in kinds:
            for index in range(min(shape.min_items, 20)):
                if all(self.nothing(one, depth + 1) for one in self.expand_all(shape.of_item(index))):
                    kinds.discard("array")
                    break
        return not kinds

    def _no_text(self, shape: Shape) -> bool:
        if len(shape.patterns) + len(shape.formats) + len(shape.not_patterns) < 2:
            return False
        return text_language(shape).nothing

    # ---- expanding ----

    def _find_names(self, schema: Any, base: str, depth: int) -> None:
        """Notes every $id and $anchor, so that references by name are found."""
        if depth > 4 * MAX_DEPTH:
            raise GrammarError(f"the schema is nested more than {MAX_DEPTH} deep")
        if isinstance(schema, Mapping):
            if isinstance(schema.get("$id"), str):
                self._named[schema["$id"].rstrip("#")] = schema
                self._moved = self._moved or depth > 0
            if isinstance(schema.get("$anchor"), str):
                self._named["#" + schema["$anchor"]] = schema
            for key, inner in schema.items():
                if key not in ("enum", "const", "default", "examples"):
                    self._find_names(inner, base, depth + 1)
        elif isinstance(schema, list):
            for inner in schema:
                self._find_names(inner, base, depth + 1)

    def _expand(self, schema: Mapping[str, Any], resolving: tuple[str, ...]) -> list[Shape]:
        for word in _REFUSED:
            if word in schema:
                raise GrammarError(f"the keyword {word!r} cannot be expressed in a grammar")
        found = [_own(schema)]
        if "$ref" in schema:
            ref = schema["$ref"]
            if ref in resolving:
                raise GrammarError(f"$ref {ref!r} refers to itself without anything in between")
            found = _product(found, self.expand(self.resolve(ref), (*resolving, ref)))
        inner = (*resolving, "")
        for part in _list(schema, "allOf"):
            found = _product(found, self.expand(part, inner))
        if "anyOf" in schema:
            found = _product(found, [s for part in _list(schema, "anyOf") for s in self.expand(part, inner)])
        if "not" in schema:
            found = _product(found, self._negated(schema["not"], inner))
        for key, wanted in _dependent(schema):
            absent = Shape(properties={key: (False,)})
            present = Shape(required=frozenset({key}))
            others = [Shape(kinds=KINDS - {"object"}), replace(absent, kinds=frozenset({"object"}))]
            there = [replace(present, kinds=frozenset({"object"}))]
            if isinstance(wanted, list):
                there = [replace(there[0], required=frozenset({key, *wanted}))]
            else:
                there = _product(there, self.expand(wanted, inner))
            found = _product(found, [*others, *there])
        if "if" in schema and ("then" in schema or "else" in schema):
            held = _product(self.expand(schema["if"], inner), self.expand(schema.get("then", True), inner))
            failed = _product(self._negated(schema["if"], inner), self.expand(schema.get("else", True), inner))
            found = _product(found, [*held, *failed])
        if "oneOf" in schema:
            found = _product(found, self._one_of(schema, found, inner))
        if schema.get("nullable") is True:
            found = [*found, Shape(kinds=frozenset({"null"}))]
        return found

    def _one_of(self, schema: Mapping[str, Any], beside: list[Shape], inner: tuple[str, ...]) -> list[Shape]:
        """The alternatives as they are where they exclude each other, else each with the others negated."""
        parts = _list(schema, "oneOf")
        groups = [self.expand(part, inner) for part in parts]
        overlap = any(
            not self.nothing(both)
            for index, group in enumerate(groups)
            for other in groups[:index]
            for both in _product(_product(group, other), beside)
        )
        if not overlap:
            return [shape for group in groups for shape in group]
        found: list[Shape] = []
        for index, group in enumerate(groups):
            alone = group
            for other, part in enumerate(parts):
                if other != index:
                    alone = _product(alone, self._negated(part, inner))
            found += [shape for shape in alone if not self.nothing(shape)]
        return found

    def _negated(self, schema: Schema, inner: tuple[str, ...]) -> list[Shape]:
        """What a schema does not allow: whatever fails one of its keywords."""
        schema = self.target(schema)
        if isinstance(schema, bool):
            return [] if schema else [Shape()]
        if len(inner) > MAX_DEPTH:
            raise GrammarError(f"the schema is nested more than {MAX_DEPTH} deep")
        words = [word for word in schema if word in _KEYWORDS]
        return [shape for word in words for shape in self._negated_word(schema, word, (*inner, ""))]

    def _negated_word(self, schema: Mapping[str, Any], word: str, inner: tuple[str, ...]) -> list[Shape]:
        value = schema[word]
        if word == "type":
            return [Shape(kinds=KINDS - _own({"type": value}).kinds)]
        if word in ("enum", "const"):
            return [Shape(excluded=_own({word: value}).values or ())]
        if word == "not":
            return self.expand(value, inner)
        if word == "allOf":
            return [shape for part in _list(schema, word) for shape in self._negated(part, inner)]
        if word == "anyOf":
            found = [Shape()]
            for part in _list(schema, word):
                found = _product(found, self._negated(part, inner))
            return found
        objects = Shape(kinds=frozenset({"object"}))
        if word == "required":
            return [replace(objects, properties={key: (False,)}) for key in _list(schema, word)]
        if word == "properties":
            found = []
            for key, part in _map(schema, word).items():
                opposite = {"not": part}
                self._made.append(opposite)  # kept, because shapes are known by identity
                found.append(replace(objects, required=frozenset({key}), properties={key: (opposite,)}))
            return found
        opposite_of = _OPPOSITE.get(word)
        if opposite_of is None:
            raise GrammarError(f"the opposite of {word!r} cannot be expressed in a grammar (under not, oneOf or if)")
        return opposite_of(schema, value)


def _beyond(schema: Mapping[str, Any], word: str) -> list[Shape]:
    bounds = _bounds({word: schema[word]})
    other = Bounds(low=bounds.high, above=not bounds.below) if bounds.high is not None else Bounds()
    if bounds.low is not None:
        other = Bounds(high=bounds.low, below=not bounds.above)
    return [Shape(kinds=frozenset({"integer", "fraction"}), bounds=other)]


def _shorter(kind: str, word: str) -> Callable[[Mapping[str, Any], Any], list[Shape]]:
    def made(schema: Mapping[str, Any], value: Any) -> list[Shape]:
        least = _count(schema, {"string": "minLength", "array": "minItems", "object": "minProperties"}[kind]) or 0
        return [Shape(kinds=frozenset({kind}), **{word: least - 1})] if least else []  # type: ignore[arg-type]

    return made


def _longer(kind: str, word: str) -> Callable[[Mapping[str, Any], Any], list[Shape]]:
    def made(schema: Mapping[str, Any], value: Any) -> list[Shape]:
        most = _count(schema, {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}[kind]) or 0
        return [Shape(kinds=frozenset({kind}), **{word: most + 1})]  # type: ignore[arg-type]

    return made


_OPPOSITE: dict[str, Callable[[Mapping[str, Any], Any], list[Shape]]] = {
    "minimum": lambda schema, _: _beyond(schema, "minimum"),
    "maximum": lambda schema, _: _beyond(schema, "maximum"),
    "exclusiveMinimum": lambda schema, _: _beyond(schema, "exclusiveMinimum"),
    "exclusiveMaximum": lambda schema, _: _beyond(schema, "exclusiveMaximum"),
    "minLength": _shorter("string", "max_length"),
    "maxLength": _longer("string", "min_length"),
    "minItems": _shorter("array", "max_items"),
    "maxItems": _longer("array", "min_items"),
    "minProperties": _shorter("object", "max_properties"),
    "maxProperties": _longer("object", "min_properties"),
    "pattern": lambda schema, value: [Shape(kinds=frozenset({"string"}), not_patterns=(_text(schema, "pattern"),))],
}


def text_language(shape: Shape) -> DFA:
    """The decoded strings that a shape allows."""
    length = f"[\\s\\S]{{{shape.min_length},{'' if shape.max_length is None else shape.max_length}}}"
    found = DFA.of(regex(length, ecma=True))
    for pattern in shape.patterns:
        found &= _pattern(pattern)
    for name in shape.formats:
        found &= DFA.of(regex(FORMATS[name]))
    for pattern in shape.not_patterns:
        found -= _pattern(pattern)
    texts = [value for value in shape.excluded if isinstance(value, str)]
    return found - DFA.texts(texts) if texts else found


def kind_of(value: Any) -> str:
    """The kind of a JSON value; 1.0 is an integer, as JSON Schema says."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "fraction"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list | tuple):
        return "array"
    if isinstance(value, Mapping):
        return "object"
    raise GrammarError(f"{_short(value)} is no JSON value")


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 is 1.0, and True is not 1."""
    kinds = kind_of(one), kind_of(other)
    if kinds[0] != kinds[1]:
        return False
    if kinds[0] == "array":
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other))
    if kinds[0] == "object":
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


# ---- reading keywords ----

_ASSERTED = {
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems", "items", "prefixItems", "additionalItems", "contains",
    "minContains", "uniqueItems", "properties", "required", "additionalProperties", "patternProperties",
    "propertyNames", "minProperties", "maxProperties",
}  # fmt: skip
_COMBINED = {
    "if",
    "then",
    "else",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
}
_KEYWORDS = _ASSERTED | (_COMBINED - {"$ref"}) | {*_REFUSED, "nullable"}


def _own(schema: Mapping[str, Any]) -> Shape:
    """The schema's own limits, combinators aside."""
    kinds = KINDS
    if "type" in schema:
        given = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        unknown = [t for t in given if t not in _TYPES]
        if unknown:
            raise GrammarError(f"the type {_short(unknown[0])} is unknown; there are {', '.join(_TYPES)}")
        kinds = frozenset(kind for name in given for kind in _TYPES[name])
    values = None
    if "const" in schema:
        values = (schema["const"],)
    if "enum" in schema:
        listed = tuple(_list(schema, "enum"))
        values = listed if values is None else tuple(v for v in listed if same(v, values[0]))
    formats = (schema["format"],) if "format" in schema else ()
    if formats and formats[0] not in FORMATS:
        raise GrammarError(f"the format {_short(formats[0])} is not known; there are {', '.join(FORMATS)}")
    properties = _map(schema, "properties")
    by_pattern = tuple(_map(schema, "patternProperties").items())
    extras: tuple[Extra, ...] = ()
    if "additionalProperties" in schema:
        extra = Extra(frozenset(properties), tuple(p for p, _ in by_pattern), schema["additionalProperties"])
        extras = (extra,)
    return Shape(
        kinds,
        values,
        bounds=_bounds(schema),
        min_length=_count(schema, "minLength") or 0,
        max_length=_count(schema, "maxLength"),
        patterns=(_text(schema, "pattern"),) if "pattern" in schema else (),
        formats=formats,
        min_items=_count(schema, "minItems") or 0,
        max_items=_count(schema, "maxItems"),
        arrays=_arrays(schema),
        contains=((1 if (least := _count(schema, "minContains")) is None else least, schema["contains"]),)
        if "contains" in schema
        else (),
        unique=schema.get("uniqueItems") is True,
        properties={name: (inner,) for name, inner in properties.items()},
        required=frozenset(_list(schema, "required")),
        by_pattern=by_pattern,
        extras=extras,
        names=(schema["propertyNames"],) if "propertyNames" in schema else (),
        min_properties=_count(schema, "minProperties") or 0,
        max_properties=_count(schema, "maxProperties"),
    )


def _arrays(schema: Mapping[str, Any]) -> tuple[tuple[tuple[Schema, ...], Schema], ...]:
    items = schema.get("items", True)
    if isinstance(items, list):  # before draft 2020-12
        return ((tuple(items), schema.get("additionalItems", True)),)
    prefix = tuple(_list(schema, "prefixItems"))
    return ((prefix, items),) if prefix or "items" in schema else ()


def _bounds(schema: Mapping[str, Any]) -> Bounds:
    found = Bounds()
    for word, low in (("minimum", True), ("maximum", False), ("exclusiveMinimum", True), ("exclusiveMaximum", False)):
        if word not in schema:
            continue
        strict = word.startswith("exclusive")
        value = schema[word]
        if isinstance(value, bool) and strict:  # draft 4
            found = replace(found, above=value or found.above) if low else replace(found, below=value or found.below)
            continue
        exact = _number(word, value)
        one = Bounds(low=exact, above=strict) if low else Bounds(high=exact, below=strict)
        found = found.meet(one)
    if "multipleOf" in schema:
        step = _number("multipleOf", schema["multipleOf"])
        if step <= 0:
            raise GrammarError(f"multipleOf {step} must be above 0")
        found = replace(found, steps=(step,))
    return found


def _number(word: str, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GrammarError(f"{word} must be a number, not {_short(value)}")
    return Decimal(str(value))


def _count(schema: Mapping[str, Any], word: str) -> int | None:
    if word not in schema:
        return None
    value = schema[word]
    if isinstance(value, bool) or kind_of(value) != "integer" or value < 0:
        raise GrammarError(f"{word} must be a whole number, 0 or more, not {_short(value)}")
    return int(value)


def _text(schema: Mapping[str, Any], word: str) -> str:
    if not isinstance(schema[word], str):
        raise GrammarError(f"{word} must be a text, not {_short(schema[word])}")
    return str(schema[word])


def _list(schema: Mapping[str, Any], word: str) -> list[Any]:
    value = schema.get(word, [])
    if not isinstance(value, list | tuple):
        raise GrammarError(f"{word} must be a list, not {_short(value)}")
    return list(value)


def _map(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    value = schema.get(word, {})
    if not isinstance(value, Mapping):
        raise GrammarError(f"{word} must be an object, not {_short(value)}")
    return value


def _dependent(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    words = ("dependentRequired", "dependentSchemas", "dependencies")
    return [pair for word in words for pair in _map(schema, word).items()]


def _product(one: list[Shape], other: list[Shape]) -> list[Shape]:
    if len(one) * len(other) > MAX_ALTERNATIVES:
        raise GrammarError(f"the schema comes to more than {MAX_ALTERNATIVES} alternatives; make it flatter")
    return [a.meet(b) for a in one for b in other]


_patterns: dict[str, DFA] = {}


def _pattern(pattern: str) -> DFA:
    if pattern not in _patterns:
        if len(_patterns) > 256:
            _patterns.clear()
        _patterns[pattern] = DFA.of(regex(pattern, search=True, ecma=True))
    return _patterns[pattern]


def _matches(pattern: str, text: str) -> bool:
    return _pattern(pattern).accepts_text(text)


def _fits_text(value: str, shape: Shape) -> bool:
    if not _within(len(value), shape.min_length, shape.max_length):
        return False
    formats = (DFA.of(regex(FORMATS[name])) for name in shape.formats)
    if any(_matches(p, value) for p in shape.not_patterns):
        return False
    return all(_matches(p, value) for p in shape.patterns) and all(dfa.accepts_text(value) for dfa in formats)


def _within(count: int, least: int, most: int | None) -> bool:
    return count >= least and (most is None or count <= most)


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _short(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)[:60]
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:60]
