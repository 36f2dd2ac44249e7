"""The keywords of JSON Schema: what each says as a `Shape`, and what its opposite says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from modkit.errors import GrammarError
from modkit.native.grammar.formats import FORMATS, NUMBERS
from modkit.native.grammar.numbers import Bounds
from modkit.native.grammar.shape import KINDS, Extra, Schema, Shape
from modkit.native.grammar.values import kind_of, same, short

__all__ = ["KEYWORDS", "OPPOSITE", "REFUSED", "dependent", "listed", "mapped", "own"]

_TYPES = {
    "null": {"null"},
    "boolean": {"boolean"},
    "integer": {"integer"},
    "number": {"integer", "fraction"},
    "string": {"string"},
    "array": {"array"},
    "object": {"object"},
}
REFUSED = ("unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef", "maxContains")
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
KEYWORDS = _ASSERTED | (_COMBINED - {"$ref"}) | {*REFUSED, "nullable"}


def own(schema: Mapping[str, Any]) -> Shape:
    """The schema's own limits, combinators aside."""
    kinds = KINDS
    if "type" in schema:
        given = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        unknown = [t for t in given if t not in _TYPES]
        if unknown:
            raise GrammarError(f"the type {short(unknown[0])} is unknown; there are {', '.join(_TYPES)}")
        kinds = frozenset(kind for name in given for kind in _TYPES[name])
    values = None
    if "const" in schema:
        values = (schema["const"],)
    if "enum" in schema:
        enum = tuple(listed(schema, "enum"))
        values = enum if values is None else tuple(v for v in enum if same(v, values[0]))
    kinds, bounds, formats = _format(schema, kinds, _bounds(schema))
    properties = mapped(schema, "properties")
    by_pattern = tuple(mapped(schema, "patternProperties").items())
    extras: tuple[Extra, ...] = ()
    if "additionalProperties" in schema:
        extra = Extra(frozenset(properties), tuple(p for p, _ in by_pattern), schema["additionalProperties"])
        extras = (extra,)
    return Shape(
        kinds,
        values,
        bounds=bounds,
        min_length=_count(schema, "minLength") or 0,
        max_length=_count(schema, "maxLength"),
        patterns=(text_of(schema, "pattern"),) if "pattern" in schema else (),
        formats=formats,
        min_items=_count(schema, "minItems") or 0,
        max_items=_count(schema, "maxItems"),
        arrays=_arrays(schema),
        contains=((1 if (least := _count(schema, "minContains")) is None else least, schema["contains"]),)
        if "contains" in schema
        else (),
        unique=schema.get("uniqueItems") is True,
        properties={name: (inner,) for name, inner in properties.items()},
        required=frozenset(listed(schema, "required")),
        by_pattern=by_pattern,
        extras=extras,
        names=(schema["propertyNames"],) if "propertyNames" in schema else (),
        min_properties=_count(schema, "minProperties") or 0,
        max_properties=_count(schema, "maxProperties"),
    )


def _format(
    schema: Mapping[str, Any], kinds: frozenset[str], bounds: Bounds
) -> tuple[frozenset[str], Bounds, tuple[str, ...]]:
    """What the format leaves of kinds and bounds, and the format where it speaks of strings."""
    if "format" not in schema:
        return kinds, bounds, ()
    name = schema["format"]
    if "string" in kinds:
        if name not in FORMATS:
            raise GrammarError(f"the format {short(name)} is not known; there are {', '.join(FORMATS)}")
        return kinds, bounds, (name,)
    limits = NUMBERS.get(name) if isinstance(name, str) else None
    if limits is not None:
        bounds = bounds.meet(Bounds(low=Decimal(limits[0]), high=Decimal(limits[1])))
        kinds -= {"fraction"}
    return kinds, bounds, ()  # any other says nothing of what is no string


def _arrays(schema: Mapping[str, Any]) -> tuple[tuple[tuple[Schema, ...], Schema], ...]:
    items = schema.get("items", True)
    if isinstance(items, list):  # before draft 2020-12
        return ((tuple(items), schema.get("additionalItems", True)),)
    prefix = tuple(listed(schema, "prefixItems"))
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
        raise GrammarError(f"{word} must be a number, not {short(value)}")
    return Decimal(str(value))


def _count(schema: Mapping[str, Any], word: str) -> int | None:
    if word not in schema:
        return None
    value = schema[word]
    if isinstance(value, bool) or kind_of(value) != "integer" or value < 0:
        raise GrammarError(f"{word} must be a whole number, 0 or more, not {short(value)}")
    return int(value)


def text_of(schema: Mapping[str, Any], word: str) -> str:
    if not isinstance(schema[word], str):
        raise GrammarError(f"{word} must be a text, not {short(schema[word])}")
    return str(schema[word])


def listed(schema: Mapping[str, Any], word: str) -> list[Any]:
    """A keyword's list."""
    value = schema.get(word, [])
    if not isinstance(value, list | tuple):
        raise GrammarError(f"{word} must be a list, not {short(value)}")
    return list(value)


def mapped(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    """A keyword's object."""
    value = schema.get(word, {})
    if not isinstance(value, Mapping):
        raise GrammarError(f"{word} must be an object, not {short(value)}")
    return value


def dependent(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The keys that ask for others, and what they ask for."""
    words = ("dependentRequired", "dependentSchemas", "dependencies")
    return [pair for word in words for pair in mapped(schema, word).items()]


# ---- opposites ----


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


OPPOSITE: dict[str, Callable[[Mapping[str, Any], Any], list[Shape]]] = {
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
    "pattern": lambda schema, value: [Shape(kinds=frozenset({"string"}), not_patterns=(text_of(schema, "pattern"),))],
}
