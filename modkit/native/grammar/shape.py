"""`Shape`: one alternative of a JSON Schema, a plain set of limits without combinators.

allOf is the meeting of shapes, anyOf a longer list of them. What is left over in each is what the grammar is written
from, and what a value is checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.formats import FORMATS
from modkit.native.grammar.numbers import Bounds
from modkit.native.grammar.regex import regex
from modkit.native.grammar.values import same

__all__ = ["KINDS", "Extra", "Schema", "Shape", "fits_text", "matches", "text_language", "within"]

Schema: TypeAlias = "Mapping[str, Any] | bool"
KINDS = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
_NO_BOUNDS = Bounds()


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
            least(self.max_length, other.max_length),
            tuple(dict.fromkeys(self.patterns + other.patterns)),
            tuple(dict.fromkeys(self.formats + other.formats)),
            self.not_patterns + other.not_patterns,
            max(self.min_items, other.min_items),
            least(self.max_items, other.max_items),
            self.arrays + other.arrays,
            self.contains + other.contains,
            self.unique or other.unique,
            properties,
            self.required | other.required,
            self.by_pattern + other.by_pattern,
            self.extras + other.extras,
            self.names + other.names,
            max(self.min_properties, other.min_properties),
            least(self.max_properties, other.max_properties),
        )

    def of_key(self, key: str) -> tuple[Schema, ...]:
        """All schemas that speak of this key's value."""
        found = list(self.properties.get(key, ()))
        found += [schema for pattern, schema in self.by_pattern if matches(pattern, key)]
        for extra in self.extras:
            if key not in extra.names and not any(matches(p, key) for p in extra.patterns):
                found.append(extra.schema)
        return tuple(found)

    def of_item(self, index: int) -> tuple[Schema, ...]:
        """All schemas that speak of the item at this place."""
        return tuple(prefix[index] if index < len(prefix) else rest for prefix, rest in self.arrays)


def text_language(shape: Shape) -> DFA:
    """The decoded strings that a shape allows."""
    length = f"[\\s\\S]{{{shape.min_length},{'' if shape.max_length is None else shape.max_length}}}"
    found = DFA.of(regex(length, ecma=True))
    for pattern in shape.patterns:
        found &= pattern_language(pattern)
    for name in shape.formats:
        found &= format_language(name)
    for pattern in shape.not_patterns:
        found -= pattern_language(pattern)
    texts = [value for value in shape.excluded if isinstance(value, str)]
    return found - DFA.texts(texts) if texts else found


@cache
def format_language(name: str) -> DFA:
    return DFA.of(regex(FORMATS[name]))


_patterns: dict[str, DFA] = {}


def pattern_language(pattern: str) -> DFA:
    if pattern not in _patterns:
        if len(_patterns) > 256:
            _patterns.clear()
        _patterns[pattern] = DFA.of(regex(pattern, search=True, ecma=True))
    return _patterns[pattern]


def matches(pattern: str, text: str) -> bool:
    """Whether a schema's pattern is found in a text."""
    return pattern_language(pattern).accepts_text(text)


def fits_text(value: str, shape: Shape) -> bool:
    """Whether a string is one that the shape allows."""
    if not within(len(value), shape.min_length, shape.max_length):
        return False
    if any(matches(p, value) for p in shape.not_patterns):
        return False
    return all(matches(p, value) for p in shape.patterns) and all(
        format_language(name).accepts_text(value) for name in shape.formats
    )


def within(count: int, least: int, most: int | None) -> bool:
    """Whether a count is from `least` to `most` (None: without end)."""
    return count >= least and (most is None or count <= most)


def least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
