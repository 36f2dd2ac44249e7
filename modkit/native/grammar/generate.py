"""Random members of a grammar, from a seed: for tests, tools and examples."""

from __future__ import annotations

import random

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import Alt, Chars, Node, Ref, Repeat, Rules, Seq, Text, Token, intersect

__all__ = ["Members"]

_PLAIN = ((0x20, 0x7E),)
_REAL = ((1, 0xD7FF), (0xE000, 0x10FFFF))  # what a text in UTF-8 can hold
_FAR = 1 << 30


class Members:
    """`Members(rules, root).one(rng, size)`: a random member; above about `size` choices it takes the short ways."""

    def __init__(self, rules: Rules, root: str) -> None:
        self._rules = rules
        self._root = root
        self._height = dict.fromkeys(rules, _FAR)  # how deep the flattest member of a rule is
        changed = True
        while changed:
            changed = False
            for name, node in rules.items():
                height = 1 + self._flattest(node)
                if height < self._height[name]:
                    self._height[name] = height
                    changed = True

    def one(self, rng: random.Random, size: int = 60) -> str:
        """One member. Raises GrammarError where the grammar names tokens."""
        parts: list[str] = []
        todo: list[Node] = [Ref(self._root)]
        left = size
        while todo:
            node = todo.pop()
            if isinstance(node, Text):
                parts.append(node.text)
            elif isinstance(node, Chars):
                parts.append(_char(node, rng))
            elif isinstance(node, Ref):
                todo.append(self._rules[node.name])
            elif isinstance(node, Seq):
                todo.extend(reversed(node.items))
            elif isinstance(node, Alt):
                left -= 1
                todo.append(rng.choice(node.items) if left > 0 else min(node.items, key=self._flattest))
            elif isinstance(node, Repeat):
                times = self._times(node, rng, left)
                left -= times
                todo.extend([node.item] * times)
            else:
                raise GrammarError(f"the grammar names the token {node.text}, and there is no vocabulary here")
        return "".join(parts)

    def _times(self, node: Repeat, rng: random.Random, left: int) -> int:
        if left <= 0:
            return node.least
        most = node.least + rng.choice((1, 1, 3, 8)) if node.most is None else node.most
        if rng.random() < 0.15:
            return most if most <= node.least + left else node.least + left
        return rng.randint(node.least, min(most, node.least + max(1, left // 4)))

    def _flattest(self, node: Node) -> int:
        if isinstance(node, Ref):
            return self._height[node.name]
        if isinstance(node, Seq):
            return max((self._flattest(item) for item in node.items), default=0)
        if isinstance(node, Alt):
            return min(self._flattest(item) for item in node.items)
        if isinstance(node, Repeat):
            return self._flattest(node.item) if node.least else 0
        return 0 if not isinstance(node, Token) else 1


def _char(node: Chars, rng: random.Random) -> str:
    plain = intersect(node.ranges, _PLAIN)
    ranges = plain if plain and rng.random() < 0.8 else intersect(node.ranges, _REAL)
    if not ranges:
        raise GrammarError("a class holds no character that a text can have")
    low, high = rng.choice(ranges)
    kind = rng.random()  # the ends of a range are where mistakes are
    return chr(low if kind < 0.1 else high if kind > 0.9 else rng.randint(low, high))
