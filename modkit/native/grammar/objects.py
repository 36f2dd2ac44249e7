"""Objects of JSON Schema: declared properties in their order, others after them, how many there are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

from modkit.errors import GrammarError
from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.nodes import EMPTY, NEVER, Node, Text, alt, opt, repeat, seq
from modkit.native.grammar.prune import rest_of
from modkit.native.grammar.regex import regex
from modkit.native.grammar.shape import Schema, Shape, text_language
from modkit.native.grammar.shapes import Shapes
from modkit.native.grammar.spelling import Spelling

__all__ = ["Objects"]

_MAX_PATTERNS = 4


class Objects:
    """`node` gives the rule for values that some schemas allow. `closed`: an object that names its properties has no
    others unless it says so."""

    def __init__(
        self, shapes: Shapes, json: Spelling, node: Callable[[tuple[Schema, ...], str], Node], closed: bool
    ) -> None:
        self.shapes, self.json, self.node, self.closed = shapes, json, node, closed

    def object(self, shape: Shape, hint: str) -> Node:
        keys = [*shape.properties, *sorted(shape.required - shape.properties.keys())]
        pairs: list[tuple[Node, bool]] = []
        for key in keys:
            fine = all(self.shapes.allows(key, schema) for schema in shape.names)
            value = self.node(shape.of_key(key), f"{hint}-{key}") if fine else NEVER
            pairs.append((seq(self.json.value(key), self.json.colon, value), key in shape.required))
        extra = self.extra_pair(shape, keys, hint)
        return seq(Text("{"), _Members(self.json, pairs, extra, shape, hint).run(), Text("}"))

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
            found.append(seq(key, self.json.colon, value))
        return alt(*found)

    def extra_key(self, shape: Shape, keys: list[str], patterns: list[str], matching: set[str], hint: str) -> Node:
        if not keys and not patterns and not shape.names:
            return self.json.text()
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
        return self.json.spelled(language, f"{hint}-key")


class _Members:
    """The inside of an object: declared pairs in their order, each at most once, then others, commas in between."""

    def __init__(self, json: Spelling, pairs: list[tuple[Node, bool]], extra: Node, shape: Shape, hint: str) -> None:
        self.json, self.pairs, self.extra, self.hint = json, pairs, extra, hint
        self.least, self.most = shape.min_properties, shape.max_properties
        self.counted = self.least > 0 or self.most is not None
        self.cap = max(self.least, (self.most or 0) + 1) if self.counted else 1

    def run(self) -> Node:
        """Made from the last pair to the first, so that their number is no depth of calls."""
        needed = [0, *accumulate(required for _, required in self.pairs)]
        rest: dict[int, Node] = {}  # what may follow, by how many pairs are written (from `cap` on it is all one)
        for index in reversed(range(len(self.pairs) + 1)):
            counts = range(min(needed[index], self.cap), min(index, self.cap) + 1)
            rest = {count: self._rest(index, count, rest) for count in counts}
        return rest[0]

    def _rest(self, index: int, count: int, after: dict[int, Node]) -> Node:
        """What may follow when the pairs before `index` are decided and `count` pairs are written."""
        if self.most is not None and count > self.most:
            return NEVER
        if index == len(self.pairs):
            return self._others(count)
        pair, required = self.pairs[index]
        pair = seq(self.json.comma if count else EMPTY, pair)
        with_it = seq(pair, after[min(count + 1, self.cap)])
        if required:
            node = with_it
        elif count and not self.counted:
            node = seq(opt(pair), after[count])
        else:
            node = alt(with_it, after[count])
        return self.json.builder.add(rest_of(self.hint), node)

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
        more = seq(self.json.comma, self.extra)
        if count:
            return repeat(more, least, most)
        full = seq(self.extra, repeat(more, 0, None if most is None else most - 1))
        return full if least else opt(full)
