"""From nodes to GBNF, within llama.cpp's bounds: long repeats become nested rules that count exactly."""

from __future__ import annotations

import re

from modkit.native.grammar.nodes import (
    ANY,
    Alt,
    Chars,
    Node,
    Ranges,
    Ref,
    Repeat,
    Rules,
    Seq,
    Text,
    Token,
    alt,
    complement,
    opt,
    rebuilt,
    repeat,
    seq,
)
from modkit.native.grammar.polite import breathe

__all__ = ["Builder", "char_class", "quoted", "renamed", "write"]

_CHUNK = 1000  # llama.cpp's own limit is 2000 rules for one repeat
_INLINE = 8  # a group is repeated in place up to so often, as a rule above
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


class Builder:
    """Rules under construction, and names for new ones."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules: Rules = dict(rules or {})
        self._taken = set(self.rules)

    def fresh(self, hint: str) -> str:
        """A name that no rule has, made from any text."""
        base = re.sub(r"[^a-zA-Z0-9]+", "-", hint).strip("-")[:40] or "r"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name)
        return name

    def add(self, hint: str, node: Node) -> Ref:
        """A new rule; short nodes need none, but it is given one all the same."""
        name = self.fresh(hint)
        self.rules[name] = node
        return Ref(name)

    def absorb(self, rules: Rules, prefix: str = "") -> dict[str, str]:
        """Takes in another grammar's rules under new names; returns old name → new name."""
        names = {name: self.fresh(f"{prefix}{name}") for name in rules}
        for name, node in rules.items():
            self.rules[names[name]] = renamed(node, names)
        return names


def renamed(node: Node, names: dict[str, str]) -> Node:
    """The node with its references renamed."""
    return rebuilt(node, lambda leaf: Ref(names.get(leaf.name, leaf.name)) if isinstance(leaf, Ref) else leaf)


def write(rules: Rules, root: str = "root") -> str:
    """GBNF of the rules, the root first, the others in their order. Each name must be a GBNF name."""
    writer = _Writer(Builder(rules))
    order = [root, *(name for name in rules if name != root)]
    lines = [f"{name} ::= {writer.text(rules[name], top=True)}" for name in order]
    while writer.more:
        more, writer.more = writer.more, []
        lines += [f"{name} ::= {writer.text(node, top=True)}" for name, node in more]
    return "\n".join(lines) + "\n"


class _Writer:
    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.more: list[tuple[str, Node]] = []
        self.known: dict[Node, Ref] = {}

    def text(self, node: Node, top: bool = False) -> str:
        if top:
            breathe()
        if isinstance(node, Text):
            return quoted(node.text)
        if isinstance(node, Chars):
            return char_class(node.ranges)
        if isinstance(node, Ref):
            return node.name
        if isinstance(node, Token):
            return node.text
        if isinstance(node, Seq):
            return " ".join(self.text(item) for item in node.items)
        if isinstance(node, Alt):
            # an empty alternative is written "", which llama.cpp reads as no element at all
            body = " | ".join(self.text(item, top=False) for item in node.items)
            return body if top else f"({body})"
        return self._repeat(node)

    def _repeat(self, node: Repeat) -> str:
        item, least, most = node.item, node.least, node.most
        if max(least, most or 0) > _CHUNK:
            return self.text(self._nested(self._named(item), least, most))
        simple = isinstance(item, Ref | Chars | Token) or (isinstance(item, Text) and item.text)
        if not simple and max(least, most or 0) > _INLINE:
            item, simple = self._named(item), True
        body = self.text(item)
        if not simple and not isinstance(item, Alt):
            body = f"({body})"
        marks = {(0, None): "*", (1, None): "+", (0, 1): "?"}
        if (least, most) in marks:
            return body + marks[least, most]
        return f"{body}{{{least}}}" if least == most else f"{body}{{{least},{'' if most is None else most}}}"

    def _named(self, item: Node) -> Ref:
        if isinstance(item, Ref):
            return item
        if item not in self.known:
            name = self.builder.fresh("many")
            self.known[item] = Ref(name)
            self.more.append((name, item))
        return self.known[item]

    def _nested(self, item: Ref, least: int, most: int | None) -> Node:
        """Exactly `least` to `most` items, in chunks: a chunk is a rule, and chunks are counted in turn."""
        chunk = self._named(Repeat(item, _CHUNK, _CHUNK))
        whole, rest = divmod(least, _CHUNK)
        start = seq(self._counted(chunk, whole), self._counted(item, rest))
        if most is None:
            return seq(start, repeat(item))
        tail: Node = repeat(item, 0, (most - least) % _CHUNK)
        for _ in range((most - least) // _CHUNK):
            tail = self._named(alt(repeat(item, 0, _CHUNK - 1), seq(chunk, tail)))
        return seq(start, tail)

    def _counted(self, item: Node, times: int) -> Node:
        if times <= _CHUNK:
            return repeat(item, times, times)
        whole, rest = divmod(times, _CHUNK)
        return seq(
            self._counted(self._named(Repeat(item, _CHUNK, _CHUNK)), whole),
            repeat(item, rest, rest) if rest else opt(Text("")),
        )


def quoted(text: str) -> str:
    """A text as a GBNF literal."""
    return '"' + "".join(_SHORT.get(c) or (c if c.isprintable() else _hex(ord(c))) for c in text) + '"'


def char_class(ranges: Ranges) -> str:
    """A set of characters as a GBNF class, positive or negated, whichever is shorter."""
    if ranges == ANY.ranges:
        return "."
    plain = "".join(_range(low, high) for low, high in ranges)
    others = "".join(_range(low, high) for low, high in complement(ranges))
    return f"[^{others}]" if others and len(others) < len(plain) else f"[{plain}]"


def _range(low: int, high: int) -> str:
    if low == high:
        return _in_class(low)
    return f"{_in_class(low)}{'-' if high > low + 1 else ''}{_in_class(high)}"


def _in_class(point: int) -> str:
    char = chr(point)
    if char in "\n\r\t\\":
        return _SHORT[char]
    return _hex(point) if char in '[]^-"' or not char.isprintable() else char


def _hex(point: int) -> str:
    return f"\\x{point:02X}" if point < 0x100 else f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"
