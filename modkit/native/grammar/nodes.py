"""What a grammar is made of, once it is parsed: characters, texts, references, sequences, alternatives, repeats.

Nodes are frozen and know nothing of any notation. Characters are sets of Unicode code points, kept as sorted,
disjoint ranges; the empty set is a node that nothing can match.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ANY",
    "EMPTY",
    "LAST",
    "NEVER",
    "Alt",
    "Chars",
    "Node",
    "Ranges",
    "Ref",
    "Repeat",
    "Rules",
    "Seq",
    "Text",
    "Token",
    "alt",
    "can_end",
    "chars",
    "complement",
    "ending_rules",
    "intersect",
    "is_empty",
    "nullable_rules",
    "opt",
    "rebuilt",
    "refs",
    "repeat",
    "seq",
    "some",
    "star",
    "union",
]

LAST = 0x10FFFF
Ranges: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Text:
    """Exactly these characters; "" is the empty word."""

    text: str


@dataclass(frozen=True, slots=True)
class Ref:
    """Another rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    """One after another."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of several."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The item `least` to `most` times; None is without end."""

    item: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Token:
    """A single token of the vocabulary, as llama.cpp writes it: `<[12]>`, `<think>`, `!<[12]>`."""

    text: str


Node: TypeAlias = "Chars | Text | Ref | Seq | Alt | Repeat | Token"
Rules: TypeAlias = dict[str, "Node"]

EMPTY = Text("")
NEVER = Chars(())
ANY = Chars(((0, LAST),))


# ---- sets of characters ----


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges as sorted, disjoint ones that do not touch."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(ranges: Ranges) -> Ranges:
    """All other code points."""
    rest, at = [], 0
    for low, high in ranges:
        if low > at:
            rest.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        rest.append((at, LAST))
    return tuple(rest)


def intersect(one: Ranges, other: Ranges) -> Ranges:
    """The code points in both."""
    found, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            found.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def chars(*sets: str | tuple[int, int] | tuple[str, str]) -> Chars:
    """`chars("abc", ("0", "9"))`: the characters of a text, and ranges."""
    ranges: list[tuple[int, int]] = []
    for item in sets:
        if isinstance(item, str):
            ranges += [(ord(c), ord(c)) for c in item]
        else:
            low, high = item
            ranges.append((low if isinstance(low, int) else ord(low), high if isinstance(high, int) else ord(high)))
    return Chars(union(ranges))


# ---- building, with what is needless left out ----


def seq(*items: Node) -> Node:
    """Items one after another; neighbouring texts become one."""
    flat: list[Node] = []
    for item in items:
        for part in item.items if isinstance(item, Seq) else (item,):
            if part == NEVER:
                return NEVER
            if isinstance(part, Text):
                if not part.text:
                    continue
                if flat and isinstance(flat[-1], Text):
                    flat[-1] = Text(flat[-1].text + part.text)
                    continue
            flat.append(part)
    return flat[0] if len(flat) == 1 else Seq(tuple(flat)) if flat else EMPTY


def alt(*items: Node) -> Node:
    """One of the items; those that nothing matches and repeats of the same are left out."""
    flat: dict[Node, None] = {}
    for item in items:
        for part in item.items if isinstance(item, Alt) else (item,):
            if part != NEVER:
                flat[part] = None
    found = tuple(flat)
    return found[0] if len(found) == 1 else Alt(found) if found else NEVER


def repeat(item: Node, least: int = 0, most: int | None = None) -> Node:
    """The item from `least` to `most` times (None: without end)."""
    if most == 0 or item == EMPTY:
        return EMPTY
    if item == NEVER:
        return EMPTY if least == 0 else NEVER
    if least == most == 1:
        return item
    return Repeat(item, least, most)


def opt(item: Node) -> Node:
    return repeat(item, 0, 1)


def star(item: Node) -> Node:
    return repeat(item)


def some(item: Node) -> Node:
    return repeat(item, 1)


# ---- questions ----


def refs(node: Node) -> Iterator[str]:
    """The names that a node refers to, as often as it does."""
    todo = [node]
    while todo:
        here = todo.pop()
        if isinstance(here, Ref):
            yield here.name
        elif isinstance(here, Seq | Alt):
            todo.extend(reversed(here.items))
        elif isinstance(here, Repeat):
            todo.append(here.item)


def is_empty(node: Node, nullable: Container[str]) -> bool:
    """Whether a node can match the empty word, given the rules that can."""
    return _holds(node, nullable, lambda leaf: leaf == EMPTY)


def can_end(node: Node, ending: Container[str]) -> bool:
    """Whether some text completes a node, given the rules that have one."""
    return _holds(node, ending, lambda leaf: leaf != NEVER)


def nullable_rules(rules: Rules) -> set[str]:
    """The rules that can match the empty word."""
    return _fixpoint(rules, is_empty)


def ending_rules(rules: Rules) -> set[str]:
    """The rules that some text completes."""
    return _fixpoint(rules, can_end)


def _holds(node: Node, known: Container[str], leaf: Callable[[Node], bool]) -> bool:
    """Something that a sequence is when all its items are, and a choice when one is; `known` are the rules that are."""
    if isinstance(node, Ref):
        return node.name in known
    if isinstance(node, Seq):
        return all(_holds(item, known, leaf) for item in node.items)
    if isinstance(node, Alt):
        return any(_holds(item, known, leaf) for item in node.items)
    if isinstance(node, Repeat):
        return node.least == 0 or _holds(node.item, known, leaf)
    return leaf(node)


def _fixpoint(rules: Rules, holds: Callable[[Node, set[str]], bool]) -> set[str]:
    """The fewest rules such that all are among them that hold, given them. A rule is asked again only when one that it
    refers to has joined, so that a chain of 20,000 rules takes no longer than as many lone ones."""
    users: dict[str, list[str]] = {}
    for name, node in rules.items():
        for other in refs(node):
            users.setdefault(other, []).append(name)
    found: set[str] = set()
    todo: Iterable[str] = rules
    while todo:
        joined = [name for name in todo if holds(rules[name], found)]
        found.update(joined)
        todo = {user for name in joined for user in users.get(name, ())} - found
    return found


# ---- change ----


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with `change(leaf)` in place of each leaf: of all that is no sequence, choice or repeat."""
    if isinstance(node, Seq):
        return seq(*(rebuilt(item, change) for item in node.items))
    if isinstance(node, Alt):
        return alt(*(rebuilt(item, change) for item in node.items))
    if isinstance(node, Repeat):
        return repeat(rebuilt(node.item, change), node.least, node.most)
    return change(node)
