"""How a JSON value is spelled, as nodes: a given one, any, and a string that is one of a set.

Characters stand as themselves, with the short escapes; no spaces, or at most one after a colon or a comma.
"""

from __future__ import annotations

import json
from typing import Any

from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.nodes import (
    NEVER,
    Chars,
    Node,
    Ref,
    Text,
    alt,
    chars,
    complement,
    intersect,
    opt,
    repeat,
    seq,
    star,
)
from modkit.native.grammar.numbers import Bounds, numbers
from modkit.native.grammar.values import kind_of
from modkit.native.grammar.write import Builder

__all__ = ["Spelling", "between"]

_CONTROL = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
_PLAIN = complement(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F)))
_ESCAPES = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
_HEX = chars(("0", "9"), ("a", "f"), ("A", "F"))


class Spelling:
    """Nodes for JSON; the rules that they share are added to the builder when they are first needed."""

    def __init__(self, builder: Builder, spaces: bool) -> None:
        self.builder = builder
        self.comma = seq(Text(","), opt(Text(" "))) if spaces else Text(",")
        self.colon = seq(Text(":"), opt(Text(" "))) if spaces else Text(":")
        self.basic: dict[str, Ref] = {}

    def value(self, value: Any) -> Node:
        """A given value, in its canonical spelling."""
        kind = kind_of(value)
        if kind == "object":
            pairs = [seq(self.value(key), self.colon, self.value(item)) for key, item in value.items()]
            return seq(Text("{"), *between(pairs, self.comma), Text("}"))
        if kind == "array":
            return seq(Text("["), *between([self.value(item) for item in value], self.comma), Text("]"))
        if kind == "integer":
            return Text(str(int(value)))
        return Text(json.dumps(value, ensure_ascii=False))

    def anything(self) -> Node:
        if "json" not in self.basic:
            self.basic["json"] = Ref(self.builder.fresh("json"))
            value = self.basic["json"]
            pair = seq(self.text(), self.colon, value)
            pairs = opt(seq(pair, star(seq(self.comma, pair))))
            items = opt(seq(value, star(seq(self.comma, value))))
            self.builder.rules[value.name] = alt(
                Text("null"),
                Text("true"),
                Text("false"),
                self.any_number(),
                self.text(),
                seq(Text("["), items, Text("]")),
                seq(Text("{"), pairs, Text("}")),
            )
        return self.basic["json"]

    def any_number(self) -> Node:
        return self.basic.setdefault("number", self.builder.add("number", numbers(Bounds(), self.builder)))

    def char(self) -> Node:
        if "char" not in self.basic:
            unit = alt(seq(chars(("0", "9"), ("a", "c"), ("A", "C"), "efEF"), repeat(_HEX, 3, 3)),
                       seq(chars("dD"), chars(("0", "7")), repeat(_HEX, 2, 2)))  # fmt: skip
            escape = alt(chars('"\\/bfnrt'), seq(Text("u"), unit))  # \u of a half character is left out
            self.basic["char"] = self.builder.add("char", alt(Chars(_PLAIN), seq(Text("\\"), escape)))
        return self.basic["char"]

    def text(self) -> Node:
        if "string" not in self.basic:
            self.basic["string"] = self.builder.add("string", seq(Text('"'), star(self.char()), Text('"')))
        return self.basic["string"]

    def spelled(self, language: DFA, hint: str) -> Node:
        """A set of decoded strings, as they stand in JSON."""
        if language.nothing:
            return NEVER
        return seq(Text('"'), language.node(self.builder, f"{hint}-text", self.spell), Text('"'))

    def spell(self, low: int, high: int) -> Node:
        if (low, high) == (0, 0x10FFFF):
            return self.char()
        found: list[Node] = []
        plain = intersect(((low, high),), complement(_CONTROL))
        if plain:
            single = len(plain) == 1 and plain[0][0] == plain[0][1]
            found.append(Text(chr(plain[0][0])) if single else Chars(plain))
        for first, last in intersect(((low, high),), _CONTROL):
            found += [Text(_ESCAPES.get(point, f"\\u{point:04x}")) for point in range(first, last + 1)]
        return alt(*found)


def between(items: list[Node], separator: Node) -> list[Node]:
    """The items with the separator between each two."""
    return [part for index, item in enumerate(items) for part in ((separator, item) if index else (item,))]
