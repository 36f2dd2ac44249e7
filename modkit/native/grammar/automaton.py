"""Deterministic automata over code points: the exact "and", "and not" and "or" of regular languages.

A grammar cannot be subtracted from a grammar in general, but what has no recursion can: a key that is none of the
declared ones, a string that matches a pattern and has 3 to 8 characters, a number that a step divides.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import pairwise
from typing import TypeVar

from modkit.errors import GrammarError
from modkit.native.grammar.match import Machine
from modkit.native.grammar.nodes import (
    EMPTY,
    NEVER,
    Chars,
    Node,
    Ref,
    Rules,
    Text,
    alt,
    rebuilt,
    seq,
    star,
    union,
)
from modkit.native.grammar.polite import breathe
from modkit.native.grammar.write import Builder

__all__ = ["DFA", "flat"]

MAX_STATES = 20_000
_DEPTH = 12  # how deep alternatives are nested before a rule is made of them

Edges = list[tuple[int, int, int]]  # low, high, target: sorted and disjoint
_State = TypeVar("_State", bound=Hashable)


class DFA:
    """State 0 is the start; what has no edge is refused."""

    def __init__(self, edges: list[Edges], accepts: list[bool]) -> None:
        self.edges = edges
        self.accepts = accepts

    @classmethod
    def of(cls, node: Node) -> DFA:
        """Of a node without references (see `flat`)."""
        machine = Machine({"root": node}, "root")
        start: tuple[int, ...] = (machine.start[0],)

        def moves(states: tuple[int, ...]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
            every = [edge for state in states for edge in machine.chars[state]]
            for low, high in _pieces(every):
                yield low, high, tuple(sorted({t for a, b, t in every if a <= low and high <= b}))

        order, edges = _explored(start, moves)
        return cls(edges, [any(machine.accepts[state] for state in states) for states in order])._small()

    @classmethod
    def texts(cls, texts: Iterable[str]) -> DFA:
        """Exactly these texts."""
        return cls.of(alt(*(Text(text) for text in texts)))

    def __and__(self, other: DFA) -> DFA:
        return self._product(other, lambda one, two: one and two)

    def __sub__(self, other: DFA) -> DFA:
        return self._product(other, lambda one, two: one and not two)

    def __or__(self, other: DFA) -> DFA:
        return self._product(other, lambda one, two: one or two)

    @property
    def nothing(self) -> bool:
        """Whether it accepts no text at all."""
        return not any(self.accepts)

    def accepts_text(self, text: str) -> bool:
        state = 0
        for char in text:
            point = ord(char)
            for low, high, target in self.edges[state]:
                if low <= point <= high:
                    state = target
                    break
            else:
                return False
        return self.accepts[state]

    def node(self, builder: Builder, hint: str, spell: Callable[[int, int], Node] | None = None) -> Node:
        """The same language as a node; states that are reached twice become rules of the builder.

        `spell(low, high)` gives the node for a range of characters (default: the characters themselves).
        """
        return _Spelling(self, builder, hint, spell).run()

    def _product(self, other: DFA, keep: Callable[[bool, bool], bool]) -> DFA:
        def moves(pair: tuple[int, int]) -> Iterator[tuple[int, int, tuple[int, int]]]:
            mine, theirs = (dfa.edges[state] if state >= 0 else [] for dfa, state in zip((self, other), pair))
            for low, high in _pieces([*mine, *theirs]):
                target = (_target(mine, low), _target(theirs, low))
                if keep(target[0] >= 0, False) or keep(target[0] >= 0, target[1] >= 0):
                    yield low, high, target

        order, edges = _explored((0, 0), moves)  # -1: refused by that side
        accepts = [keep(one >= 0 and self.accepts[one], two >= 0 and other.accepts[two]) for one, two in order]
        return DFA(edges, accepts)._small()

    def _small(self) -> DFA:
        """Without the states that lead nowhere, and with equal states joined (Moore's refinement)."""
        live = {state for state, good in enumerate(self.accepts) if good}
        before: dict[int, list[int]] = {}
        for state, row in enumerate(self.edges):
            for _, _, target in row:
                before.setdefault(target, []).append(state)
        todo = list(live)
        while todo:
            for state in before.get(todo.pop(), ()):
                if state not in live:
                    live.add(state)
                    todo.append(state)
        if 0 not in live:
            return DFA([[]], [False])
        edges = [[e for e in row if e[2] in live] for row in self.edges]
        group = [int(good) for good in self.accepts]
        count = 0
        while True:
            names: dict[object, int] = {}
            new = []
            for state in range(len(edges)):
                key = (group[state], tuple(_joined([(a, b, group[t]) for a, b, t in edges[state]])))
                new.append(names.setdefault(key, len(names)) if state in live else -1)
            group = new
            if len(names) == count:
                break
            count = len(names)
        first = {group[state]: state for state in sorted(live, reverse=True)}
        order, rows = _explored(group[0], lambda name: ((a, b, group[t]) for a, b, t in edges[first[name]]))
        return DFA(rows, [self.accepts[first[name]] for name in order])


class _Spelling:
    def __init__(self, dfa: DFA, builder: Builder, hint: str, spell: Callable[[int, int], Node] | None) -> None:
        self.dfa, self.builder, self.hint, self.spell = dfa, builder, hint, spell
        entered = [0] * len(dfa.edges)
        for state, row in enumerate(dfa.edges):
            for target in {t for _, _, t in row if t != state}:
                entered[target] += 1
        self.shared = [count > 1 for count in entered]
        self.names: dict[int, Ref] = {}
        self.todo: list[int] = []

    def run(self) -> Node:
        if self.dfa.nothing:
            return NEVER
        self.shared[0] = self.shared[0] or any(t == 0 for row in self.dfa.edges[1:] for _, _, t in row)
        node = self._ref(0) if self.shared[0] else self._state(0, 0)
        while self.todo:
            state = self.todo.pop()
            self.builder.rules[self.names[state].name] = self._state(state, 0)
        return node

    def _ref(self, state: int) -> Node:
        if not self.dfa.edges[state]:
            return EMPTY
        if state not in self.names:
            self.names[state] = Ref(self.builder.fresh(self.hint))
            self.todo.append(state)
        return self.names[state]

    def _state(self, state: int, depth: int) -> Node:
        """What may be read from a state on. A way with a single exit is followed without nesting."""
        parts: list[Node] = []
        while True:
            ways: dict[int, list[tuple[int, int]]] = {}
            for low, high, target in self.dfa.edges[state]:
                ways.setdefault(target, []).append((low, high))
            loop = ways.pop(state, None)
            if loop:
                parts.append(star(self._range(loop)))
            if len(ways) == 1 and not self.dfa.accepts[state]:
                (state, ranges), *_ = ways.items()
                parts.append(self._range(ranges))
                if self.shared[state] or len(parts) > 500:
                    return seq(*parts, self._ref(state))
                continue
            exits = [seq(self._range(ranges), self._enter(target, depth + 1)) for target, ranges in ways.items()]
            if self.dfa.accepts[state]:
                exits.append(EMPTY)
            return seq(*parts, alt(*exits))

    def _enter(self, state: int, depth: int) -> Node:
        if self.shared[state] or depth > _DEPTH:
            return self._ref(state)
        return self._state(state, depth)

    def _range(self, ranges: list[tuple[int, int]]) -> Node:
        if self.spell is not None:
            return alt(*(self.spell(low, high) for low, high in ranges))
        joined = union(ranges)
        return Text(chr(joined[0][0])) if len(joined) == 1 and joined[0][0] == joined[0][1] else Chars(joined)


def flat(node: Node, rules: Rules, inside: tuple[str, ...] = ()) -> Node:
    """The node with its references replaced by what they stand for; raises GrammarError where it is recursive."""

    def meant(leaf: Node) -> Node:
        if not isinstance(leaf, Ref):
            return leaf
        if leaf.name in inside:
            raise GrammarError(
                f"the rule {leaf.name!r} is recursive, and what is recursive cannot be subtracted or intersected"
            )
        return flat(rules[leaf.name], rules, (*inside, leaf.name))

    return rebuilt(node, meant)


def _explored(
    start: _State, moves: Callable[[_State], Iterable[tuple[int, int, _State]]]
) -> tuple[list[_State], list[Edges]]:
    """All states that moves lead to from `start`, in the order they are met, and their edges by place in that order."""
    places = {start: 0}
    order = [start]
    edges: list[Edges] = []
    for here in order:
        breathe()
        row: Edges = []
        for low, high, target in moves(here):
            if target not in places:
                if len(order) >= MAX_STATES:
                    raise GrammarError(
                        f"the combination needs more than {MAX_STATES} states; make its patterns or lengths smaller"
                    )
                places[target] = len(order)
                order.append(target)
            row.append((low, high, places[target]))
        edges.append(_joined(row))
    return order, edges


def _pieces(moves: Edges) -> list[tuple[int, int]]:
    """The ranges into which the ends of all moves cut the code points that any of them takes."""
    cuts = sorted({low for low, _, _ in moves} | {high + 1 for _, high, _ in moves})
    covered = union((low, high) for low, high, _ in moves)
    found, at = [], 0
    for start, end in pairwise(cuts):
        while at < len(covered) and covered[at][1] < start:
            at += 1
        if at < len(covered) and covered[at][0] <= start:
            found.append((start, end - 1))
    return found


def _joined(row: Edges) -> Edges:
    found: Edges = []
    for low, high, target in row:
        if found and found[-1][2] == target and found[-1][1] + 1 == low:
            found[-1] = (found[-1][0], high, target)
        else:
            found.append((low, high, target))
    return found


def _target(row: Edges, point: int) -> int:
    for low, high, target in row:
        if low <= point <= high:
            return target
    return -1
