"""JSON Schema → rules. What is generated is valid, and each valid value has a spelling that the rules accept.

The spelling: declared properties in the order of the schema, others after them; no spaces, or at most one after a
colon or a comma; characters as themselves, with the short escapes; numbers of at most 16 digits.
"""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

from modkit.errors import GrammarError
from modkit.native.grammar.arrays import Arrays
from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.nodes import EMPTY, NEVER, Node, Ref, Rules, Text, alt, repeat, seq
from modkit.native.grammar.numbers import Bounds, integers, numbers
from modkit.native.grammar.objects import Objects
from modkit.native.grammar.polite import breathe
from modkit.native.grammar.prune import pruned
from modkit.native.grammar.shape import Schema, Shape, text_language
from modkit.native.grammar.shapes import Shapes
from modkit.native.grammar.spelling import Spelling
from modkit.native.grammar.values import kind_of, same
from modkit.native.grammar.write import Builder

__all__ = ["schema_rules"]

_MAX_SIZE = 1 << 20


def schema_rules(schema: Schema, *, spaces: bool = True, closed: bool = False) -> Rules:
    """Rules named from "root" on. `closed`: an object that names its properties has no others unless it says so."""
    try:
        if len(json.dumps(schema, default=repr)) > _MAX_SIZE:
            raise GrammarError(f"the schema has more than {_MAX_SIZE} characters")
        made = _Made(Shapes(schema), spaces, closed)
        node = made.node((schema,), "value")
    except RecursionError:
        raise GrammarError("the schema is nested too deep") from None
    rules = pruned({"root": node, **made.builder.rules}, "root")
    if rules["root"] == NEVER:
        raise GrammarError("no value can satisfy this schema")
    return rules


class _Made:
    """The rules for the schemas of one document, each made once."""

    def __init__(self, shapes: Shapes, spaces: bool, closed: bool) -> None:
        self.shapes = shapes
        self.builder = Builder({"root": EMPTY})
        del self.builder.rules["root"]
        self.json = Spelling(self.builder, spaces)
        self.arrays = Arrays(shapes, self.json, self.node)
        self.objects = Objects(shapes, self.json, self.node, closed)
        self.known: dict[frozenset[int], Ref] = {}
        self.texts: dict[tuple[object, ...], Ref] = {}
        self.alive: list[Any] = []  # so that no id is used twice

    def node(self, schemas: tuple[Schema, ...], hint: str) -> Node:
        """The rule for values that all of these schemas allow."""
        breathe()
        chosen = [self.shapes.target(schema) for schema in schemas]
        if any(schema is False for schema in chosen):
            return NEVER
        chosen = [schema for schema in chosen if schema is not True and schema != {}]
        if not chosen:
            return self.json.anything()
        key = frozenset(id(schema) for schema in chosen)
        if key not in self.known:
            self.alive += chosen
            ref = self.known[key] = Ref(self.builder.fresh(hint))
            self.builder.rules[ref.name] = NEVER
            shapes = self.shapes.expand_all(tuple(_unique(chosen)))
            self.builder.rules[ref.name] = alt(*(self.shape(shape, hint) for shape in shapes))
        return self.known[key]

    def shape(self, shape: Shape, hint: str) -> Node:
        if shape.values is not None:
            return alt(*(self.json.value(value) for value in shape.values if self.shapes.fits(value, shape)))
        if shape == Shape():
            return self.json.anything()
        found: list[Node] = []
        for word, value in (("null", None), ("boolean", True), ("boolean", False)):
            if word in shape.kinds and not any(same(value, other) for other in shape.excluded):
                found.append(Text(json.dumps(value)))
        if shape.kinds & {"integer", "fraction"}:
            found.append(self.number(shape))
        if "string" in shape.kinds:
            found.append(self.string(shape, hint))
        if "array" in shape.kinds:
            self.refuse_excluded(shape, "array")
            found.append(self.arrays.array(shape, hint))
        if "object" in shape.kinds:
            self.refuse_excluded(shape, "object")
            found.append(self.objects.object(shape, hint))
        return alt(*found)

    def refuse_excluded(self, shape: Shape, kind: str) -> None:
        if any(kind_of(value) == kind and self.shapes.fits(value, _without(shape)) for value in shape.excluded):
            raise GrammarError(f"not: a single {kind} cannot be excluded in a grammar")

    def number(self, shape: Shape) -> Node:
        excluded = [v for v in shape.excluded if kind_of(v) in ("integer", "fraction") and shape.bounds.holds(v)]
        if "fraction" in shape.kinds:
            if shape.kinds >= {"integer", "fraction"} and shape.bounds == Bounds() and not excluded:
                return self.json.any_number()
            broken = "integer" not in shape.kinds
            return numbers(shape.bounds, self.builder, [Decimal(str(v)) for v in excluded], broken=broken)
        node = integers(shape.bounds, self.builder)
        if excluded:
            texts = DFA.texts(str(int(value)) for value in excluded if kind_of(value) == "integer")
            node = (DFA.of(node) - texts).node(self.builder, "number")
        return node

    def string(self, shape: Shape, hint: str) -> Node:
        least, most = shape.min_length, shape.max_length
        if most is not None and most < least:
            return NEVER
        excluded = any(isinstance(value, str) for value in shape.excluded)
        if not (shape.patterns or shape.formats or shape.not_patterns or excluded):
            if (least, most) == (0, None):
                return self.json.text()
            return seq(Text('"'), repeat(self.json.char(), least, most), Text('"'))
        texts = tuple(value for value in shape.excluded if isinstance(value, str))
        key = (least, most, shape.patterns, shape.formats, shape.not_patterns, texts)
        if key not in self.texts:  # written once, however many fields are a "uri"
            hint = shape.formats[0] if shape.formats else hint
            self.texts[key] = self.builder.add(hint, self.json.spelled(text_language(shape), hint))
        return self.texts[key]


def _unique(schemas: list[Schema]) -> list[Schema]:
    found: dict[int, Schema] = {id(schema): schema for schema in schemas}
    return list(found.values())


def _without(shape: Shape) -> Shape:
    return replace(shape, excluded=())
