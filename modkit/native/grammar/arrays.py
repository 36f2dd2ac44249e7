"""Arrays of JSON Schema: sizes, items by place, items that must be there, items of which each is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import EMPTY, NEVER, Node, Text, alt, opt, repeat, seq, star
from modkit.native.grammar.prune import rest_of
from modkit.native.grammar.shape import Schema, Shape
from modkit.native.grammar.shapes import Shapes
from modkit.native.grammar.spelling import Spelling
from modkit.native.grammar.values import kind_of, same

__all__ = ["Arrays"]

_MAX_UNIQUE = 6


class Arrays:
    """`node` gives the rule for values that some schemas allow."""

    def __init__(self, shapes: Shapes, json: Spelling, node: Callable[[tuple[Schema, ...], str], Node]) -> None:
        self.shapes, self.json, self.node = shapes, json, node

    def array(self, shape: Shape, hint: str) -> Node:
        most = shape.max_items
        if most is not None and most < shape.min_items:
            return NEVER
        if shape.unique and (most is None or most > 1):
            return self.unique_array(shape, hint)
        contains = [(least, schema) for least, schema in shape.contains if least > 0]
        if contains:
            return self.containing(shape, contains, hint)
        length = max((len(prefix) for prefix, _ in shape.arrays), default=0)
        item = self.node(shape.of_item(length), f"{hint}-item")
        separated = seq(self.json.comma, item)
        if length == 0:
            upper = None if most is None else most - 1
            full = seq(item, repeat(separated, max(0, shape.min_items - 1), upper)) if most != 0 else EMPTY
            return seq(Text("["), full if shape.min_items else opt(full), Text("]"))
        least_left, most_left = max(0, shape.min_items - length), None if most is None else max(0, most - length)
        tail = repeat(separated, least_left, most_left)
        for index in reversed(range(length)):
            if most is not None and index >= most:
                tail = EMPTY
                continue
            here = self.node(shape.of_item(index), f"{hint}-{index}")
            tail = seq(self.json.comma if index else EMPTY, here, tail)
            if index >= shape.min_items:
                tail = opt(tail)
        return seq(Text("["), tail, Text("]"))

    def containing(self, shape: Shape, contains: list[tuple[int, Schema]], hint: str) -> Node:
        least, wanted = contains[0]
        if len(contains) > 1 or shape.max_items is not None or any(prefix for prefix, _ in shape.arrays):
            raise GrammarError("contains cannot be expressed together with maxItems, prefixItems or another contains")
        if shape.min_items > least:
            raise GrammarError("contains cannot be expressed together with a greater minItems")
        item = self.node(shape.of_item(0), f"{hint}-item")
        one = self.node((*shape.of_item(0), wanted), f"{hint}-wanted")
        others = star(seq(item, self.json.comma))
        found = seq(others, one)
        for _ in range(least - 1):
            found = seq(found, self.json.comma, others, one)
        return seq(Text("["), found, star(seq(self.json.comma, item)), Text("]"))

    def unique_array(self, shape: Shape, hint: str) -> Node:
        """uniqueItems, where the items are a few listed values: one rule for each set of what is used already."""
        listed: list[Any] = []
        shapes = self.shapes.expand_all(shape.of_item(0))
        for one in shapes:
            values = one.values
            if values is None and one.kinds <= {"boolean", "null"}:
                values = tuple(v for v in (True, False, None) if kind_of(v) in one.kinds)
            if values is None or any(prefix for prefix, _ in shape.arrays) or shape.contains:
                raise GrammarError("uniqueItems cannot be expressed, except for items from an enum of up to 6 values")
            listed += [v for v in values if self.shapes.fits(v, one) and not any(same(v, w) for w in listed)]
        if len(listed) > _MAX_UNIQUE:
            raise GrammarError(f"uniqueItems cannot be expressed for more than {_MAX_UNIQUE} values")
        names: dict[frozenset[int], Node] = {}

        def after(used: frozenset[int]) -> Node:
            count = len(used)
            if used in names:
                return names[used]
            found: list[Node] = [EMPTY] if count >= shape.min_items else []
            if shape.max_items is None or count < shape.max_items:
                for index, value in enumerate(listed):
                    if index not in used:
                        comma = self.json.comma if used else EMPTY
                        found.append(seq(comma, self.json.value(value), after(used | {index})))
            node = alt(*found)
            names[used] = node if node in (EMPTY, NEVER) else self.json.builder.add(rest_of(hint), node)
            return names[used]

        return seq(Text("["), after(frozenset()), Text("]"))
