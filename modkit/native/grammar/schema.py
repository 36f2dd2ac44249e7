"""JSON Schema → rules. What is generated is valid, and each valid value has a spelling that the rules accept.

The spelling: declared properties in the order of the schema, others after them; no spaces, or at most one after a
colon or a comma; characters as themselves, with the short escapes; numbers of at most 16 digits.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

from modkit.errors import GrammarError
from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.nodes import (
    EMPTY,
    NEVER,
    Alt,
    Chars,
    Node,
    Ref,
    Repeat,
    Rules,
    Seq,
    Text,
    alt,
    chars,
    complement,
    ending_rules,
    intersect,
    opt,
    refs,
    repeat,
    seq,
    star,
)
from modkit.native.grammar.numbers import Bounds, integers, numbers
from modkit.native.grammar.regex import regex
from modkit.native.grammar.shape import Schema, Shape, text_language
from modkit.native.grammar.shapes import Shapes
from modkit.native.grammar.values import kind_of, same
from modkit.native.grammar.write import Builder

__all__ = ["schema_rules"]

_CONTROL = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
_PLAIN = complement(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F)))
_ESCAPES = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
_HEX = chars(("0", "9"), ("a", "f"), ("A", "F"))
_REST = "-rest"  # of the rules that are written out where they are used once
_MAX_SIZE = 1 << 20
_MAX_PATTERNS = 4
_MAX_UNIQUE = 6


def schema_rules(schema: Schema, *, spaces: bool = True, closed: bool = False) -> Rules:
    """Rules named from "root" on. `closed`: an object that names its properties has no others unless it says so."""
    try:
        if len(json.dumps(schema, default=repr)) > _MAX_SIZE:
            raise GrammarError(f"the schema has more than {_MAX_SIZE} characters")
        made = _Made(Shapes(schema), spaces, closed)
        node = made.node((schema,), "value")
    except RecursionError:
        raise GrammarError("the schema is nested too deep") from None
    rules = _pruned({"root": node, **made.builder.rules}, "root")
    if rules["root"] == NEVER:
        raise GrammarError("no value can satisfy this schema")
    return rules


class _Made:
    def __init__(self, shapes: Shapes, spaces: bool, closed: bool) -> None:
        self.shapes = shapes
        self.closed = closed
        self.builder = Builder({"root": EMPTY})
        del self.builder.rules["root"]
        self.comma = seq(Text(","), opt(Text(" "))) if spaces else Text(",")
        self.colon = seq(Text(":"), opt(Text(" "))) if spaces else Text(":")
        self.known: dict[frozenset[int], Ref] = {}
        self.alive: list[Any] = []  # so that no id is used twice
        self.basic: dict[str, Ref] = {}

    def node(self, schemas: tuple[Schema, ...], hint: str) -> Node:
        """The rule for values that all of these schemas allow."""
        chosen = [self.shapes.target(schema) for schema in schemas]
        if any(schema is False for schema in chosen):
            return NEVER
        chosen = [schema for schema in chosen if schema is not True and schema != {}]
        if not chosen:
            return self.anything()
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
            return alt(*(self.value(value) for value in shape.values if self.shapes.fits(value, shape)))
        if shape == Shape():
            return self.anything()
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
            found.append(self.array(shape, hint))
        if "object" in shape.kinds:
            self.refuse_excluded(shape, "object")
            found.append(self.object(shape, hint))
        return alt(*found)

    def refuse_excluded(self, shape: Shape, kind: str) -> None:
        if any(kind_of(value) == kind and self.shapes.fits(value, _without(shape)) for value in shape.excluded):
            raise GrammarError(f"not: a single {kind} cannot be excluded in a grammar")

    # ---- values, anything ----

    def value(self, value: Any) -> Node:
        """A given value, in its canonical spelling."""
        kind = kind_of(value)
        if kind == "object":
            pairs = [seq(self.value(key), self.colon, self.value(item)) for key, item in value.items()]
            return seq(Text("{"), *_between(pairs, self.comma), Text("}"))
        if kind == "array":
            return seq(Text("["), *_between([self.value(item) for item in value], self.comma), Text("]"))
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

    # ---- numbers and strings ----

    def number(self, shape: Shape) -> Node:
        excluded = [v for v in shape.excluded if kind_of(v) in ("integer", "fraction") and shape.bounds.holds(v)]
        if "fraction" in shape.kinds:
            if shape.kinds >= {"integer", "fraction"} and shape.bounds == Bounds() and not excluded:
                return self.any_number()
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
                return self.text()
            return seq(Text('"'), repeat(self.char(), least, most), Text('"'))
        return self.spelled(text_language(shape), hint)

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

    # ---- arrays ----

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
        separated = seq(self.comma, item)
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
            tail = seq(self.comma if index else EMPTY, here, tail)
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
        others = star(seq(item, self.comma))
        found = seq(others, one)
        for _ in range(least - 1):
            found = seq(found, self.comma, others, one)
        return seq(Text("["), found, star(seq(self.comma, item)), Text("]"))

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
                        comma = self.comma if used else EMPTY
                        found.append(seq(comma, self.value(value), after(used | {index})))
            node = alt(*found)
            names[used] = node if node in (EMPTY, NEVER) else self.builder.add(f"{hint}{_REST}", node)
            return names[used]

        return seq(Text("["), after(frozenset()), Text("]"))

    # ---- objects ----

    def object(self, shape: Shape, hint: str) -> Node:
        keys = [*shape.properties, *sorted(shape.required - shape.properties.keys())]
        pairs: list[tuple[Node, bool]] = []
        for key in keys:
            fine = all(self.shapes.allows(key, schema) for schema in shape.names)
            value = self.node(shape.of_key(key), f"{hint}-{key}") if fine else NEVER
            pairs.append((seq(self.value(key), self.colon, value), key in shape.required))
        extra = self.extra_pair(shape, keys, hint)
        return seq(Text("{"), _Members(self, pairs, extra, shape, hint).run(), Text("}"))

    def extra_pair(self, shape: Shape, keys: list[str], hint: str) -> Node:
        """A key that is not declared, with its value. Keys that match different patterns have different values."""
        closed = self.closed and not shape.extras and (shape.properties or shape.by_pattern)
        patterns = list(
            dict.fromkeys([*(p for p, _ in shape.by_pattern), *(p for e in shape.extras for p in e.patterns)])
        )
        if len(patterns) > _MAX_PATTERNS:
            raise GrammarError(f"more than {_MAX_PATTERNS} patterns of properties cannot be told apart in a grammar")
        found: list[Node] = []
        for chosen in range(1 << len(patterns)):
            matching = {p for index, p in enumerate(patterns) if chosen >> index & 1}
            schemas = [schema for pattern, schema in shape.by_pattern if pattern in matching]
            schemas += [extra.schema for extra in shape.extras if not matching & set(extra.patterns)]
            if closed and not matching:
                continue
            value = self.node(tuple(schemas), f"{hint}-more")
            if value == NEVER:
                continue
            key = self.extra_key(shape, keys, patterns, matching, hint)
            found.append(seq(key, self.colon, value))
        return alt(*found)

    def extra_key(self, shape: Shape, keys: list[str], patterns: list[str], matching: set[str], hint: str) -> Node:
        if not keys and not patterns and not shape.names:
            return self.text()
        language = DFA.of(regex(r"[\s\S]*"))
        for pattern in patterns:
            other = text_language(Shape(patterns=(pattern,)))
            language = language & other if pattern in matching else language - other
        if keys:
            language -= DFA.texts(keys)
        if shape.names:
            names = None
            for one in self.shapes.expand_all(shape.names):
                if "string" not in one.kinds:
                    continue
                if one.values is not None:
                    here = DFA.texts(v for v in one.values if isinstance(v, str) and self.shapes.fits(v, one))
                else:
                    here = text_language(one)
                names = here if names is None else names | here
            if names is None:
                return NEVER
            language &= names
        return self.spelled(language, f"{hint}-key")


class _Members:
    """The inside of an object: declared pairs in their order, each at most once, then others, commas in between."""

    def __init__(self, made: _Made, pairs: list[tuple[Node, bool]], extra: Node, shape: Shape, hint: str) -> None:
        self.made, self.pairs, self.extra, self.hint = made, pairs, extra, hint
        self.least, self.most = shape.min_properties, shape.max_properties
        self.counted = self.least > 0 or self.most is not None
        self.cap = max(self.least, (self.most or 0) + 1) if self.counted else 1
        self.known: dict[tuple[int, int], Node] = {}

    def run(self) -> Node:
        return self.rest(0, 0)

    def rest(self, index: int, count: int) -> Node:
        """What may follow when the pairs before `index` are decided and `count` pairs are written."""
        count = min(count, self.cap)
        if self.counted and self.most is not None and count > self.most:
            return NEVER
        key = (index, count if self.counted else min(count, 1))
        if key not in self.known:
            node = self._rest(index, count)
            at_end = index == len(self.pairs)
            self.known[key] = node if at_end else self.made.builder.add(f"{self.hint}{_REST}", node)
        return self.known[key]

    def _rest(self, index: int, count: int) -> Node:
        if index == len(self.pairs):
            return self._others(count)
        pair, required = self.pairs[index]
        pair = seq(self.made.comma if count else EMPTY, pair)
        if not required and count and not self.counted:
            return seq(opt(pair), self.rest(index + 1, count))
        with_it = seq(pair, self.rest(index + 1, count + 1))
        return with_it if required else alt(with_it, self.rest(index + 1, count))

    def _others(self, count: int) -> Node:
        least = max(0, self.least - count)
        most = None if self.most is None else self.most - count
        if self.extra == NEVER or most == 0:
            return EMPTY if least == 0 else NEVER
        if least > 1:
            raise GrammarError(
                "minProperties cannot be expressed: more than one property beside the declared ones would be needed,"
                " and a grammar cannot tell two such keys apart"
            )
        more = seq(self.made.comma, self.extra)
        if count:
            return repeat(more, least, most)
        full = seq(self.extra, repeat(more, 0, None if most is None else most - 1))
        return full if least else opt(full)


def _unique(schemas: list[Schema]) -> list[Schema]:
    found: dict[int, Schema] = {id(schema): schema for schema in schemas}
    return list(found.values())


def _without(shape: Shape) -> Shape:
    return replace(shape, excluded=())


def _between(items: list[Node], separator: Node) -> list[Node]:
    return [part for index, item in enumerate(items) for part in ((separator, item) if index else (item,))]


def _pruned(rules: Rules, root: str) -> Rules:
    """Without the rules that nothing completes and those that nothing reaches."""
    good = ending_rules(rules)
    cut = {name: _cut(node, good) for name, node in rules.items()}
    uses = Counter(name for node in cut.values() for name in refs(node))
    inline = {name for name in cut if _REST in name and uses[name] == 1}
    reached: Rules = {}
    todo = [root]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached[name] = _inlined(cut[name], cut, inline)
            todo += refs(reached[name])
    return {name: reached[name] for name in cut if name in reached}


def _inlined(node: Node, rules: Rules, inline: set[str]) -> Node:
    if isinstance(node, Ref) and node.name in inline:
        return _inlined(rules[node.name], rules, inline)
    if isinstance(node, Seq):
        return seq(*(_inlined(item, rules, inline) for item in node.items))
    if isinstance(node, Alt):
        return alt(*(_inlined(item, rules, inline) for item in node.items))
    if isinstance(node, Repeat):
        return repeat(_inlined(node.item, rules, inline), node.least, node.most)
    return node


def _cut(node: Node, good: set[str]) -> Node:
    if isinstance(node, Ref):
        return node if node.name in good else NEVER
    if isinstance(node, Seq):
        return seq(*(_cut(item, good) for item in node.items))
    if isinstance(node, Alt):
        return alt(*(_cut(item, good) for item in node.items))
    if isinstance(node, Repeat):
        return repeat(_cut(node.item, good), node.least, node.most)
    return node
