"""A matcher of our own, for tests and tools: does a text belong to a grammar, can it still become a member, what
may come next.

Earley's algorithm over small automata, one for each rule: polynomial for every grammar, linear for most. It shares
no code with llama.cpp, so one can be held against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import (
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
    nullable_rules,
    union,
)

__all__ = ["Machine", "Matcher", "Next"]

MAX_STATES = 500_000
MAX_ITEMS = 200_000  # at one place of the text


@dataclass(frozen=True)
class Next:
    """What may follow: ranges of code points, and whether the text may end here."""

    chars: Ranges
    end: bool

    def __contains__(self, char: str) -> bool:
        return any(low <= ord(char) <= high for low, high in self.chars)


class Machine:
    """The rules as automata without empty moves. Immutable once built; matchers share it."""

    def __init__(self, rules: Rules, root: str) -> None:
        self.empty: list[list[int]] = []
        self.chars: list[list[tuple[int, int, int]]] = []
        self.calls: list[list[tuple[int, int]]] = []
        self.accepts: list[bool] = []
        self.owner: list[int] = []
        self._ids = {name: index for index, name in enumerate(rules)}
        nullable = nullable_rules(rules)
        self.nullable = [name in nullable for name in rules]
        self.start: list[int] = []
        for index, node in enumerate(rules.values()):
            start = self._state(index)
            self.start.append(start)
            self.accepts[self._build(node, start, index)] = True
        self.root = self._ids[root]
        self._without_empty_moves()

    def _state(self, owner: int) -> int:
        if len(self.empty) >= MAX_STATES:
            raise GrammarError(f"the grammar has more than {MAX_STATES} states; its repeats are too long to be matched")
        self.empty.append([])
        self.chars.append([])
        self.calls.append([])
        self.accepts.append(False)
        self.owner.append(owner)
        return len(self.empty) - 1

    def _build(self, node: Node, at: int, owner: int) -> int:
        """Adds the node's states from `at` on; returns the state after it."""
        if isinstance(node, Text):
            for char in node.text:
                end = self._state(owner)
                self.chars[at].append((ord(char), ord(char), end))
                at = end
            return at
        if isinstance(node, Seq):
            for item in node.items:
                at = self._build(item, at, owner)
            return at
        if isinstance(node, Repeat):
            return self._build_repeat(node, at, owner)
        end = self._state(owner)
        if isinstance(node, Chars):
            self.chars[at] += [(low, high, end) for low, high in node.ranges]
        elif isinstance(node, Ref):
            self.calls[at].append((self._ids[node.name], end))
        elif isinstance(node, Alt):
            for item in node.items:
                begin = self._state(owner)
                self.empty[at].append(begin)
                self.empty[self._build(item, begin, owner)].append(end)
        elif isinstance(node, Token):
            raise GrammarError(f"the grammar names the token {node.text}, and a matcher of texts has no vocabulary")
        return end

    def _build_repeat(self, node: Repeat, at: int, owner: int) -> int:
        for _ in range(node.least):
            at = self._build(node.item, at, owner)
        if node.most is None:
            loop, out = self._state(owner), self._state(owner)
            self.empty[at].append(loop)
            self.empty[self._build(node.item, loop, owner)].append(loop)
            self.empty[loop].append(out)
            return out
        out = self._state(owner)
        for _ in range(node.most - node.least):
            self.empty[at].append(out)
            begin = self._state(owner)
            self.empty[at].append(begin)
            at = self._build(node.item, begin, owner)
        self.empty[at].append(out)
        return out

    def _without_empty_moves(self) -> None:
        """Gives each state the moves of every state it reaches without a character."""
        if not any(self.empty):
            return
        needed = {*self.start, *(e[2] for edges in self.chars for e in edges), *(c[1] for s in self.calls for c in s)}
        made = {}
        for state in needed:
            if self.empty[state]:
                seen, todo = {state}, [state]
                while todo:
                    for other in self.empty[todo.pop()]:
                        if other not in seen:
                            seen.add(other)
                            todo.append(other)
                made[state] = (
                    [edge for s in seen for edge in self.chars[s]],
                    [call for s in seen for call in self.calls[s]],
                    any(self.accepts[s] for s in seen),
                )
        for state, (chars, calls, accepts) in made.items():
            self.chars[state], self.calls[state], self.accepts[state] = chars, calls, accepts
        self.empty = []


class Matcher:
    """Reads a text piece by piece. `alive`: what was read is the beginning of a member. `complete`: it is one."""

    __slots__ = ("_items", "_machine", "_waiting")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waiting: list[dict[int, list[tuple[int, int]]]] = []
        self._items = self._close([(machine.start[machine.root], 0)])

    @property
    def alive(self) -> bool:
        return bool(self._items)

    @property
    def complete(self) -> bool:
        machine = self._machine
        return any(
            origin == 0 and machine.accepts[state] and machine.owner[state] == machine.root
            for state, origin in self._items
        )

    def feed(self, text: str) -> bool:
        """Reads on; False as soon as no member begins like this, and ever after."""
        chars = self._machine.chars
        for char in text:
            point = ord(char)
            moved = {
                (target, origin): None
                for state, origin in self._items
                for low, high, target in chars[state]
                if low <= point <= high
            }
            if not moved:
                self._items = []
                return False
            self._items = self._close(list(moved))
        return bool(self._items)

    def next(self) -> Next:
        """What may follow."""
        chars = self._machine.chars
        return Next(
            union((low, high) for state, _ in self._items for low, high, _ in chars[state]),
            self.complete,
        )

    def copy(self) -> Matcher:
        """Another one at the same place."""
        other = Matcher.__new__(Matcher)
        other._machine, other._items, other._waiting = self._machine, self._items, self._waiting[:]
        return other

    def _close(self, items: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Adds what is called and what is completed at this place."""
        machine, here = self._machine, len(self._waiting)
        waiting: dict[int, list[tuple[int, int]]] = {}
        self._waiting.append(waiting)
        seen = set(items)
        at = 0
        while at < len(items):
            state, origin = items[at]
            at += 1
            found: list[tuple[int, int]] = []
            for rule, target in machine.calls[state]:
                if rule in waiting:
                    waiting[rule].append((target, origin))
                else:
                    waiting[rule] = [(target, origin)]
                    found.append((machine.start[rule], here))
                if machine.nullable[rule]:
                    found.append((target, origin))
            if machine.accepts[state] and origin != here:  # an empty match was taken by the caller already
                found += self._waiting[origin].get(machine.owner[state], ())
            for item in found:
                if item not in seen:
                    seen.add(item)
                    items.append(item)
            if len(items) > MAX_ITEMS:
                raise GrammarError(f"the text can be read in more than {MAX_ITEMS} ways at one place")
        return items
